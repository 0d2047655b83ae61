# Flattens one YAML document (JSON, or the block style described in README.md)
# into lines "path=value": the path is the keys and list indices joined by "/".
# In values a backslash is written \\ and a newline \n, so one line is one value.

{ sub(/\r$/, ""); text[++count] = $0 }

END {
    first = 1
    while (first <= count && text[first] ~ /^[ \t]*(#.*|---.*|%.*)?$/) first++
    if (first > count) exit
    if (text[first] ~ /^[ \t]*[\[{]/) {
        for (i = first; i <= count; i++) flow = flow "\n" text[i]
        read_flow("")
        exit
    }
    line = first
    skip_empty()
    read_block("", indent_of(text[line]))
}

function emit(path, value) {
    gsub(/\\/, "&&", value)
    gsub(/\n/, "\\n", value)
    print path "=" value
}

function join(path, key) { return path == "" ? key : path "/" key }

function indent_of(s) { match(s, /^ */); return RLENGTH }

function trim(s) { sub(/^[ \t\n]+/, "", s); sub(/[ \t\n]+$/, "", s); return s }

function skip_empty() { while (line <= count && text[line] ~ /^[ \t]*(#.*|---.*)?$/) line++ }

# --- block style ---

function read_block(path, indent) {
    if (text[line] ~ /^ *-( |$)/) read_sequence(path, indent)
    else read_mapping(path, indent)
}

function read_sequence(path, indent,    i, rest, pad) {
    for (i = 0; ; i++) {
        skip_empty()
        if (line > count || indent_of(text[line]) != indent || text[line] !~ /^ *-( |$)/) return
        rest = substr(text[line], indent + 2)
        match(rest, /^ */); pad = RLENGTH
        rest = substr(rest, pad + 1)
        if (rest ~ /^- / || (rest !~ /^["'\[{|>]/ && rest ~ /^[^ #][^#]*:( |$)/) || rest ~ /^"[^"]*":( |$)/) {
            # A collection begins behind the dash: read it as a block of its own.
            text[line] = sprintf("%" (indent + 1 + pad) "s", "") rest
            read_block(join(path, i), indent + 1 + pad)
        } else read_value(join(path, i), rest, indent, 0)
    }
}

function read_mapping(path, indent,    key, rest) {
    while (1) {
        skip_empty()
        if (line > count || indent_of(text[line]) != indent || text[line] ~ /^ *-( |$)/) return
        rest = substr(text[line], indent + 1)
        if (match(rest, /^"[^"]*" *:/) || match(rest, /^'[^']*' *:/)) {
            key = substr(rest, 2, RLENGTH - 1); sub(/["'] *:$/, "", key)
            rest = substr(rest, RLENGTH + 1)
        } else if (match(rest, /:( |$)/)) {
            key = trim(substr(rest, 1, RSTART - 1))
            rest = substr(rest, RSTART + 1)
        } else { complain("no \"key: value\" here"); line++; continue }
        read_value(join(path, key), trim(rest), indent, 1)
    }
}

# A value behind "key:" or "-"; `line` is still the line that holds it.
function read_value(path, rest, indent, in_mapping,    next_indent) {
    if (rest ~ /^#/) rest = ""
    if (rest ~ /^[|>][-+]?[ \t]*(#.*)?$/) { read_literal(path, rest, indent); return }
    line++
    if (rest == "") {
        skip_empty()
        next_indent = line > count ? -1 : indent_of(text[line])
        if (next_indent > indent) read_block(path, next_indent)
        else if (in_mapping && next_indent == indent && text[line] ~ /^ *-( |$)/) read_block(path, indent)
        return
    }
    # Long scalars and flow collections may go on in deeper lines.
    while (line <= count && text[line] !~ /^[ \t]*$/ && indent_of(text[line]) > indent) rest = rest " " trim(text[line++])
    if (rest ~ /^[\[{"']/) { flow = rest; read_flow(path) }
    else { sub(/[ \t]#.*$/, "", rest); emit(path, plain(trim(rest))) }
}

function read_literal(path, style, indent,    body, depth, blanks, separator) {
    separator = style ~ /^\|/ ? "\n" : " "
    depth = -1
    for (line++; line <= count; line++) {
        if (text[line] ~ /^[ \t]*$/) { blanks = blanks "\n"; continue }
        if (indent_of(text[line]) <= indent) break
        if (depth < 0) { depth = indent_of(text[line]); body = blanks substr(text[line], depth + 1) }
        else body = body (blanks == "" ? separator : (separator == " " ? "" : "\n") blanks) substr(text[line], depth + 1)
        blanks = ""
    }
    if (style !~ /-/) body = body "\n"
    emit(path, body)
}

function plain(s) { return (s == "~" || s == "null") ? "" : s }

# --- flow style, which is JSON: the rest of the document is in `flow` ---

function read_flow(path,    c) {
    sub(/^[ \t\n]+/, "", flow)
    c = substr(flow, 1, 1)
    if (c == "{") read_flow_mapping(path)
    else if (c == "[") read_flow_sequence(path)
    else emit(path, flow_scalar())
}

function read_flow_mapping(path,    key) {
    flow = substr(flow, 2)
    while (1) {
        sub(/^[ \t\n,]+/, "", flow)
        if (flow == "" || sub(/^}/, "", flow)) return
        key = flow_scalar()
        if (!sub(/^[ \t\n]*:/, "", flow)) { complain("no \":\" behind " key); flow = ""; return }
        read_flow(join(path, key))
    }
}

function read_flow_sequence(path,    i) {
    flow = substr(flow, 2)
    for (i = 0; ; i++) {
        sub(/^[ \t\n,]+/, "", flow)
        if (flow == "" || sub(/^\]/, "", flow)) return
        read_flow(join(path, i))
    }
}

function flow_scalar(    value) {
    if (substr(flow, 1, 1) == "\"") return double_quoted()
    if (substr(flow, 1, 1) == "'") return single_quoted()
    # A key ends at ": ", a value at a comma or bracket (addresses hold colons).
    if (!match(flow, /(,|\]|}|\n|:[ \t])/)) { value = flow; flow = "" }
    else { value = substr(flow, 1, RSTART - 1); flow = substr(flow, RSTART) }
    return plain(trim(value))
}

function single_quoted(    value, at) {
    flow = substr(flow, 2)
    while ((at = index(flow, "'")) > 0) {
        value = value substr(flow, 1, at - 1)
        flow = substr(flow, at + 1)
        if (substr(flow, 1, 1) != "'") return value
        value = value "'"
        flow = substr(flow, 2)
    }
    complain("a ' is not closed"); flow = ""
    return value
}

function double_quoted(    value, c) {
    flow = substr(flow, 2)
    while (match(flow, /["\\]/)) {
        value = value substr(flow, 1, RSTART - 1)
        c = substr(flow, RSTART, 1)
        if (c == "\"") { flow = substr(flow, RSTART + 1); return value }
        c = substr(flow, RSTART + 1, 1)
        flow = substr(flow, RSTART + 2)
        if (c == "n") c = "\n"
        else if (c == "t") c = "\t"
        else if (c == "r") c = "\r"
        else if (c == "b") c = "\b"
        else if (c == "f") c = "\f"
        else if (c == "u") c = unicode()
        value = value c
    }
    complain("a \" is not closed"); flow = ""
    return value
}

function hex4(s,    i, n) {
    for (i = 1; i <= 4; i++) n = n * 16 + index("0123456789abcdef", tolower(substr(s, i, 1))) - 1
    return n
}

# \uXXXX as UTF-8; two surrogates are one character.
function unicode(    n) {
    n = hex4(flow); flow = substr(flow, 5)
    if (n >= 55296 && n < 56320 && flow ~ /^\\u/) {
        n = 65536 + (n - 55296) * 1024 + hex4(substr(flow, 3)) - 56320
        flow = substr(flow, 7)
    }
    if (n < 128) return sprintf("%c", n)
    if (n < 2048) return sprintf("%c%c", 192 + int(n / 64), 128 + n % 64)
    if (n < 65536) return sprintf("%c%c%c", 224 + int(n / 4096), 128 + int(n / 64) % 64, 128 + n % 64)
    return sprintf("%c%c%c%c", 240 + int(n / 262144), 128 + int(n / 4096) % 64, 128 + int(n / 64) % 64, 128 + n % 64)
}

function complain(what) { print "skep-seed: " FILENAME ": " what > "/dev/stderr" }
