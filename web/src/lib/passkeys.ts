// WebAuthn between the browser's key store and the server: JSON with base64url on the line, ArrayBuffers in the browser.
import { json, path } from "../api/client";
import { Problem } from "../api/problem";
import type { Caller } from "../api/types";
import { text } from "../text";

/** Passkeys belong to a DNS name (or localhost) in a secure context: not to an address. */
export function passkeysPossible(): boolean {
  return window.isSecureContext && "PublicKeyCredential" in window && !/^[\d.]+$|^\[/.test(location.hostname);
}

type Options = Record<string, any>; // eslint-disable-line @typescript-eslint/no-explicit-any

export async function signInByPasskey(name: string): Promise<Caller> {
  const given = await json<Options>(path("sessions", "passkey", "begin"), { method: "POST", body: name ? { name } : {} });
  const options = given["publicKey"] ?? given;
  const publicKey = {
    ...options,
    challenge: bytes(options.challenge),
    allowCredentials: (options.allowCredentials ?? []).map(withBytes),
  } as PublicKeyCredentialRequestOptions;
  const found = (await ask(() => navigator.credentials.get({ publicKey }))) as PublicKeyCredential;
  return json<Caller>(path("sessions", "passkey"), { method: "POST", body: { credential: plain(found) } });
}

/** Make a passkey for an account; `label` is what the user calls it. */
export async function addPasskey(user: string, label: string): Promise<void> {
  const given = await json<Options>(path("users", user, "passkeys", "begin"), { method: "POST", body: {} });
  const options = given["publicKey"] ?? given;
  const publicKey = {
    ...options,
    challenge: bytes(options.challenge),
    user: { ...options.user, id: bytes(options.user.id) },
    excludeCredentials: (options.excludeCredentials ?? []).map(withBytes),
  } as PublicKeyCredentialCreationOptions;
  const made = (await ask(() => navigator.credentials.create({ publicKey }))) as PublicKeyCredential;
  await json<unknown>(path("users", user, "passkeys"), { method: "POST", body: { name: label, credential: plain(made) } });
}

async function ask(how: () => Promise<Credential | null>): Promise<Credential> {
  let credential: Credential | null;
  try {
    credential = await how();
  } catch {
    credential = null; // the browser tells nobody why: not even whether there is a passkey
  }
  if (credential === null) throw new Problem(0, text.signIn.passkeyFailed);
  return credential;
}

function plain(credential: PublicKeyCredential): Options {
  const response = credential.response as AuthenticatorResponse & Record<string, unknown>;
  const said: Options = { clientDataJSON: written(response.clientDataJSON) };
  for (const key of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    const value = response[key];
    if (value instanceof ArrayBuffer) said[key] = written(value);
  }
  if ("getTransports" in response) said["transports"] = (response as unknown as AuthenticatorAttestationResponse).getTransports();
  return {
    id: credential.id,
    rawId: written(credential.rawId),
    type: credential.type,
    authenticatorAttachment: credential.authenticatorAttachment,
    clientExtensionResults: credential.getClientExtensionResults(),
    response: said,
  };
}

function withBytes(entry: Options): Options {
  return { ...entry, id: bytes(entry["id"]) };
}

function bytes(text: string): Uint8Array<ArrayBuffer> {
  const raw = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(raw, (letter) => letter.charCodeAt(0));
}

function written(buffer: ArrayBuffer): string {
  const raw = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(raw).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
