"""A WebSocket service and client (RFC 6455) of the standard library alone, for the live tests.

    websocket.py serve ADDRESS PORT         answers on a WebSocket what it is told; /page is for browsers
    websocket.py ask ADDRESS PORT NAME ROOT CERT KEY COUNT    sends COUNT messages of growing length, expects each back
"""

import base64, hashlib, os, socket, ssl, struct, sys, threading

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


# Its load ends when the service has seen its socket close: until then the picture does not come.
PAGE = b"""<!DOCTYPE html><title>t</title><p id=said>nothing</p><img src=/hold><script>
const socket = new WebSocket(`wss://${location.host}/socket`), texts = [];
for (let n = 0; n < 10; n++) texts.push("x".repeat(3 ** n));
let next = 0;
socket.onopen = () => socket.send(texts[0]);
socket.onmessage = (message) => {
  if (message.data !== texts[next]) return socket.close();
  next += 1;
  document.getElementById("said").textContent = `${next} messages came back`;
  if (next < texts.length) socket.send(texts[next]); else socket.close();
};
</script>"""

closed = threading.Event()


def exactly(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def head(sock):
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += exactly(sock, 1)
    lines = data.decode().split("\r\n")
    return lines[0], {n.lower(): v.strip() for n, v in (l.split(":", 1) for l in lines[1:] if ":" in l)}


def accept(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def send(sock, opcode, payload, mask):
    length = len(payload)
    bit = 0x80 if mask else 0
    if length < 126:
        frame = struct.pack("!BB", 0x80 | opcode, bit | length)
    elif length < 65536:
        frame = struct.pack("!BBH", 0x80 | opcode, bit | 126, length)
    else:
        frame = struct.pack("!BBQ", 0x80 | opcode, bit | 127, length)
    if mask:
        key = os.urandom(4)
        payload = bytes(b ^ key[i % 4] for i, b in enumerate(payload))
        frame += key
    sock.sendall(frame + payload)


def receive(sock):
    first, second = exactly(sock, 2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", exactly(sock, 2))
    elif length == 127:
        (length,) = struct.unpack("!Q", exactly(sock, 8))
    key = exactly(sock, 4) if second & 0x80 else None
    payload = exactly(sock, length)
    if key:
        payload = bytes(b ^ key[i % 4] for i, b in enumerate(payload))
    return first & 0x0F, payload


def serve_one(sock):
    try:
        line, fields = head(sock)
        if fields.get("upgrade", "").lower() != "websocket":
            path = line.split(" ")[1]
            if path == "/hold":
                closed.wait(30)
            body, kind = (PAGE, "text/html") if path == "/page" else (b"plain", "text/plain")
            sock.sendall(
                f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode() + body
            )
            return
        answer = accept(fields["sec-websocket-key"])
        sock.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Accept: {answer}\r\n\r\n".encode()
        )
        while True:
            opcode, payload = receive(sock)
            send(sock, opcode, payload, mask=False)
            if opcode == 8:
                closed.set()
                return
    except (EOFError, OSError):
        pass
    finally:
        sock.close()


def serve(address, port):
    listener = socket.create_server((address, int(port)))
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve_one, args=(sock,), daemon=True).start()


def ask(address, port, name, root, cert, key, count):
    context = ssl.create_default_context(cafile=root)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["http/1.1"])
    sock = context.wrap_socket(socket.create_connection((address, int(port))), server_hostname=name)
    nonce = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET /socket HTTP/1.1\r\nHost: {name}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n\r\n".encode()
    )
    line, fields = head(sock)
    assert line.split(" ")[1] == "101", line
    assert fields["sec-websocket-accept"] == accept(nonce), fields
    for n in range(int(count)):
        sent = os.urandom(min(4 ** min(n, 9), 200_000))
        send(sock, 2, sent, mask=True)
        opcode, got = receive(sock)
        assert (opcode, got) == (2, sent), n
    send(sock, 8, b"", mask=True)
    assert receive(sock)[0] == 8
    print(f"{count} messages came back")


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:])
