"""Pull an image: manifest and signature first, then chunks from all mirrors, then, all verified, make it visible."""

from __future__ import annotations

import errno
import os
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from skep.images import folder, signature, zstd
from skep.images.manifest import LARGEST_MANIFEST, Manifest, ManifestError, check_name, check_version
from skep.images.verify import check_manifest
from skep_helper.vocabulary import AbandonImage, OpenImageWriter, PublishImage, ReadStorage

from skepd.host import Host, HostError, Progress

from .connection import Connection, check_source, watched
from .fetch import Fetch, Mirror, image_url
from .options import MirrorError, Options, PullCancelled, PullError
from .receiving import receiving
from .sink import FileSink, Sink, StreamSink

__all__ = ["Options", "PullCancelled", "PullError", "Pulled", "pull"]

_UNCERTAIN = ("lost", "busy", "timeout", "cancelled", "full")
"""Refusals of PublishImage after which the same bytes may still be published."""
_BUSY_TRIES = 10
_BUSY_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What a pull did. present: the image was there already and nothing was asked of any mirror.

    resumed: bytes that an earlier pull had brought. signer: the principal of the allowed-signers file.
    """

    name: str
    version: str
    digest: str
    present: bool = False
    size: int = 0
    resumed: int = 0
    signer: str = ""


@dataclass(frozen=True)
class _Caller:
    """The caller's functions, none of them None."""

    progress: Progress
    cancelled: Callable[[], bool]
    log: Callable[[str], None]


def pull(
    host: Host,
    name: str,
    version: str,
    sources: Sequence[str],
    allowed_signers: Path,
    *,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    log: Callable[[str], None] | None = None,
    options: Options | None = None,
) -> Pulled:
    """Bring exactly this version of an image onto a host, from mirrors that nobody needs to trust.

    sources: base URLs of folders of published images, all used at once. progress: (done, total) bytes of the image,
    from the calling thread, as `cancelled` is, which is asked ten times a second. May be repeated: an image that is
    there is left alone, a part of one is verified again and completed. There is no "latest": an unsigned list could
    name an old one.

    Raises PullError (its text names chunk and mirror), PullCancelled, and HostError of the host's requests. Nothing
    is visible unless this returns.
    """
    options = options or Options()
    caller = _Caller(progress or (lambda done, total: None), cancelled or (lambda: False), log or (lambda line: None))
    try:
        check_name(name)
        check_version(version)
    except ManifestError as error:
        raise PullError(f"image {error}") from None
    there = _present(host, name, version)
    if there is not None:
        caller.log(f"{name} {version} is here already")
        return there
    bases = list(dict.fromkeys(check_source(source) for source in sources))
    if not bases:
        raise PullError(f"{name} {version}: no source is defined; add the URL of a folder of images to it")
    context = _trust(options)
    manifest, signer = _fetch_manifest(name, version, bases, allowed_signers, options, context, caller)
    size = manifest.stored_size
    caller.log(f"{name} {version}: signed by {signer}, {size} bytes to fetch from {len(bases)} mirrors")
    if manifest.zstd:
        _require_zstd(f"{name} {version}")
    mirrors = [Mirror(base) for base in bases]
    resumed = 0
    if manifest.format == "zfs":
        _receive(host, manifest, mirrors, options, context, caller)
    else:
        resumed = _transfer(host, manifest, mirrors, options, context, caller)
        _publish(host, manifest, caller)
    caller.log(f"{name} {version}: verified and published, sha256 {manifest.sha256}")
    return Pulled(
        name=name, version=version, digest=manifest.sha256, size=manifest.size, resumed=resumed, signer=signer
    )


def _present(host: Host, name: str, version: str) -> Pulled | None:
    (reading,) = host.perform((ReadStorage(),))
    for image in reading.images:
        if (image.image, image.version) == (name, version):
            return Pulled(name=name, version=version, digest=image.digest, size=image.size, present=True)
    return None


def _trust(options: Options) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(options.ca_file) if options.ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise PullError(f"{options.ca_file}: cannot be read as certificates: {error}") from None


def _fetch_manifest(
    name: str,
    version: str,
    bases: Sequence[str],
    allowed_signers: Path,
    options: Options,
    context: ssl.SSLContext,
    caller: _Caller,
) -> tuple[Manifest, str]:
    """From the first mirror whose manifest is signed and the one that was asked for."""
    reasons: list[str] = []
    for base in bases:
        connection = Connection(options, context)

        def fetch(base: str = base, connection: Connection = connection) -> tuple[bytes, bytes]:
            signed = connection.fetch(image_url(base, name, version, folder.SIGNATURE), signature.LARGEST_SIGNATURE)
            return connection.fetch(image_url(base, name, version, folder.MANIFEST), LARGEST_MANIFEST), signed

        try:
            data, signed = watched(connection, options.manifest_seconds, caller.cancelled, fetch)
            return check_manifest(data, signed, name=name, version=version, allowed_signers=allowed_signers)
        except (MirrorError, ManifestError, signature.SignatureError) as error:
            reasons.append(f"{base}: {error}")
            caller.log(f"no manifest of {name} {version} from {base}: {error}")
        finally:
            connection.close()
    raise PullError(f"{name} {version}: no mirror has a manifest to go by: {'; '.join(reasons)}")


@dataclass
class _Worth:
    """Whether what the host holds is worth keeping for the next pull. As long as nothing was opened, it is not ours."""

    kept: bool = True


def _transfer(
    host: Host,
    manifest: Manifest,
    mirrors: list[Mirror],
    options: Options,
    context: ssl.SSLContext,
    caller: _Caller,
) -> int:
    """Fill the host's invisible image and verify the whole; returns how many bytes were there already."""
    title = f"{manifest.name} {manifest.version}"
    worth = _Worth()
    try:
        descriptor = _open(host, manifest)
        try:
            sink = FileSink(descriptor, manifest)
            fetch = Fetch(manifest, mirrors, sink, options, context, caller.log)
            worth.kept = False
            return _fill(fetch, sink, manifest, worth, caller)
        finally:
            os.close(descriptor)
    except OSError as error:
        # A full disk is worse than fetching again.
        worth.kept = worth.kept and error.errno not in (errno.ENOSPC, errno.EDQUOT)
        raise PullError(f"{title}: could not be stored: {error}") from error
    except zstd.ZstdError as error:
        raise PullError(f"{title}: {error}") from error
    finally:
        if not worth.kept:
            _abandon(host, manifest, caller)


def _fill(fetch: Fetch, sink: Sink, manifest: Manifest, worth: _Worth, caller: _Caller) -> int:
    try:
        have = _scan(sink, manifest, caller)
        digest = fetch.run(have, caller.cancelled, caller.progress)
        sink.finish()
    finally:
        worth.kept = sink.useful
    worth.kept = digest == manifest.sha256
    _require_whole(manifest, digest)
    return sum(manifest.chunk_length(index) for index in have)


def _require_whole(manifest: Manifest, digest: str) -> None:
    if digest != manifest.sha256:
        raise PullError(
            f"{manifest.name} {manifest.version}: every chunk is right, the whole is not "
            f"({digest[:16]}... instead of {manifest.sha256[:16]}...): have it published again"
        )


def _receive(
    host: Host,
    manifest: Manifest,
    mirrors: list[Mirror],
    options: Options,
    context: ssl.SSLContext,
    caller: _Caller,
) -> None:
    """A ZFS stream: each chunk, once verified, goes in its turn into the host's receiver, which makes the image visible
    when it has all of it. Nothing is kept of what broke off."""
    title = f"{manifest.name} {manifest.version}"
    with receiving(host, manifest) as receiver:
        sink = StreamSink(receiver.writer, 2 * options.connections)
        try:
            digest = Fetch(manifest, mirrors, sink, options, context, caller.log).run(
                set(), caller.cancelled, caller.progress
            )
        except OSError as error:
            receiver.leave()
            if receiver.error is not None:
                raise receiver.error from None
            raise PullError(f"{title}: could not be stored: {error}") from error
        _require_whole(manifest, digest)
        receiver.finish(caller.cancelled)


def _require_zstd(title: str) -> None:
    try:
        zstd.require()
    except zstd.ZstdError as error:
        raise PullError(f"{title}: {error}") from error


def _open(host: Host, manifest: Manifest) -> int:
    request = OpenImageWriter(image=manifest.name, version=manifest.version, format=manifest.format, size=manifest.size)
    try:
        return host.open(request)[1]
    except HostError as error:
        if error.code != "conflict":
            raise
    # A part of another image under the same name and version, e.g. one that was published wrongly and withdrawn.
    host.perform((AbandonImage(image=manifest.name, version=manifest.version),))
    return host.open(request)[1]


def _scan(sink: Sink, manifest: Manifest, caller: _Caller) -> set[int]:
    done = 0

    def seen(index: int) -> None:
        nonlocal done
        done += manifest.chunk_length(index)
        caller.progress(done, manifest.size)
        if caller.cancelled():
            raise PullCancelled("the pull was cancelled")

    have = sink.scan(seen)
    if have:
        caller.log(f"{manifest.name} {manifest.version}: {done} of {manifest.size} bytes are here and right")
    return have


def _abandon(host: Host, manifest: Manifest, caller: _Caller) -> None:
    """Best effort: the error that led here is the one to tell."""
    try:
        host.perform((AbandonImage(image=manifest.name, version=manifest.version),))
    except HostError as error:
        caller.log(f"{manifest.name} {manifest.version}: what was fetched could not be removed: {error}")


def _publish(host: Host, manifest: Manifest, caller: _Caller) -> None:
    request = PublishImage(
        image=manifest.name, version=manifest.version, format=manifest.format, digest=manifest.sha256
    )
    for last in (False,) * _BUSY_TRIES + (True,):
        try:
            host.perform((request,))
            return
        except HostError as error:
            # A process that is being started at this moment holds our descriptors until it is executed.
            if error.code == "busy" and not last and not caller.cancelled():
                time.sleep(_BUSY_SECONDS)
                continue
            # The host looked at the content and will never take it: keeping it would fail every later pull too.
            if error.code not in _UNCERTAIN:
                _abandon(host, manifest, caller)
            raise
