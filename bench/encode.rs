//! Messages of each protocol, made by hand from its specification: the adaptor's own decoders have no part in it.
//! Tests and benchmarks send them where a client library would be the slower side.

/// The little that the encoders share.
fn bytes_be32(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Scribe: one framed, strict `Log` call with `lines` under `category`.
pub fn scribe(sequence: u32, category: &str, lines: &[&[u8]]) -> Vec<u8> {
    let mut call = vec![0x80, 1, 0, 1];
    bytes_be32(&mut call, b"Log");
    call.extend_from_slice(&sequence.to_be_bytes());
    call.extend_from_slice(&[15, 0, 1, 12]);
    call.extend_from_slice(&(lines.len() as u32).to_be_bytes());
    for line in lines {
        call.extend_from_slice(&[11, 0, 1]);
        bytes_be32(&mut call, category.as_bytes());
        call.extend_from_slice(&[11, 0, 2]);
        bytes_be32(&mut call, line);
        call.push(0);
    }
    call.push(0);
    let mut frame = Vec::with_capacity(call.len() + 4);
    bytes_be32(&mut frame, &call);
    frame
}

/// A MessagePack text of up to 64 KiB.
fn msgpack_text(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ ..32 => out.push(0xa0 | length as u8),
        length @ 32..256 => out.extend_from_slice(&[0xd9, length as u8]),
        length => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// Fluent Forward: one PackedForward message with `lines` as `log` of entries under `tag`; with `chunk` it asks for an
/// acknowledgement.
pub fn forward(tag: &str, chunk: Option<&str>, lines: &[&[u8]]) -> Vec<u8> {
    let mut entries = Vec::new();
    for line in lines {
        // [EventTime, {"log": line}]
        entries.extend_from_slice(&[0x92, 0xd7, 0]);
        entries.extend_from_slice(&1_700_000_000u32.to_be_bytes());
        entries.extend_from_slice(&5u32.to_be_bytes());
        entries.push(0x81);
        msgpack_text(&mut entries, b"log");
        msgpack_text(&mut entries, line);
    }
    let mut message = vec![0x93];
    msgpack_text(&mut message, tag.as_bytes());
    message.push(0xc6);
    bytes_be32(&mut message, &entries);
    match chunk {
        None => message.push(0x80),
        Some(chunk) => {
            message.push(0x81);
            msgpack_text(&mut message, b"chunk");
            msgpack_text(&mut message, chunk.as_bytes());
        }
    }
    message
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A length-delimited field of Protocol Buffers.
fn field(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// OTLP: an `ExportLogsServiceRequest` with `lines` as bodies, of one resource with this `service.name`.
pub fn otlp(service: &str, lines: &[&[u8]]) -> Vec<u8> {
    let text = |text: &[u8]| {
        let mut value = Vec::with_capacity(text.len() + 4);
        field(&mut value, 1, text);
        value
    };
    let mut attribute = Vec::new();
    field(&mut attribute, 1, b"service.name");
    field(&mut attribute, 2, &text(service.as_bytes()));
    let mut resource = Vec::new();
    field(&mut resource, 1, &attribute);
    let mut scope_logs = Vec::new();
    for line in lines {
        let mut record = vec![1 << 3 | 1];
        record.extend_from_slice(&1_700_000_000_000_000_000u64.to_le_bytes());
        record.extend_from_slice(&[2 << 3, 9]);
        field(&mut record, 3, b"INFO");
        field(&mut record, 5, &text(line));
        field(&mut scope_logs, 2, &record);
    }
    let mut resource_logs = Vec::new();
    field(&mut resource_logs, 1, &resource);
    field(&mut resource_logs, 2, &scope_logs);
    let mut request = Vec::new();
    field(&mut request, 1, &resource_logs);
    request
}

/// An HTTP/1.1 request with a body.
pub fn http(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// syslog: RFC 5424 with octet counting.
pub fn syslog(line: &[u8]) -> Vec<u8> {
    let head = b"<14>1 2023-11-14T22:13:20.000005Z host app 123 - - ";
    [format!("{} ", head.len() + line.len()).as_bytes(), head, line].concat()
}

/// GELF over TCP; `line` has nothing in it that JSON would escape.
pub fn gelf(line: &[u8]) -> Vec<u8> {
    let head = br#"{"version":"1.1","host":"host","timestamp":1700000000.5,"level":6,"short_message":""#;
    [&head[..], line, b"\"}\0"].concat()
}
