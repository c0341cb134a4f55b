"""A proxy that spoils requests on purpose: fault_proxy.py PORT UPSTREAM LOG DELAY FAULT...

The n-th request gets the n-th fault (429, 500, timeout, cut, malformed, empty, ok); after the list
all pass. LOG gets one JSON line a request: its idempotency key, and the fault or "answered".
"""

import json
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, UPSTREAM, LOG, DELAY, *FAULTS = sys.argv[1:]
lock = threading.Lock()
faults = iter(FAULTS)


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_GET(self):
        self.reply(200, b"{}")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with lock:
            fault = next(faults, "ok")
        key = self.headers.get("idempotency-key")
        time.sleep(float(DELAY))
        if fault == "ok":
            status, answer = self.forward(body)
            self.note(key, "sent", body)
            self.reply(status, answer)
            self.note(key, "answered" if status == 200 else f"upstream {status}", body)
            return
        self.note(key, fault, body)
        self.spoil(fault, body)

    def spoil(self, fault, body):
        if fault == "429":
            self.reply(429, b'{"error": {"message": "slow down"}}', {"Retry-After": "0"})
        elif fault == "quota":
            self.reply(429, b'{"error": {"message": "pay", "code": "insufficient_quota"}}')
        elif fault == "500":
            self.reply(500, b"oops")
        elif fault == "401":
            self.reply(401, b'{"error": {"message": "no such key"}}')
        elif fault == "malformed":
            self.reply(200, b'{"choices": [{"message": {"cont')
        elif fault == "empty":
            self.reply(200, b'{"id": "1", "object": "chat.completion", "choices": []}')
        elif fault == "timeout":
            time.sleep(8)
            self.close_connection = True
        elif fault == "cut":
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b'{"id": "1", ')
            self.wfile.flush()
            self.close_connection = True

    def forward(self, body):
        request = urllib.request.Request(UPSTREAM + self.path, body)
        request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def reply(self, status, body, headers=()):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def note(self, key, what, body):
        line = json.dumps({"key": key, "what": what, "messages": json.loads(body)["messages"]})
        with lock, open(LOG, "a") as file:
            file.write(line + "\n")


ThreadingHTTPServer(("127.0.0.1", int(PORT)), Proxy).serve_forever()
