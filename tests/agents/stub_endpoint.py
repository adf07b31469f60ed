"""A chat-completions server in a thread: replies as asked, and keeps the requests."""

import contextlib
import http.server
import json
import threading


def completion(text):
  return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


@contextlib.contextmanager
def serve(reply):
  """Yields (base url, requests).

  Args:
    reply: (number of the request, its record) -> (status, body bytes, headers), or None
      to hang up.
  """
  requests, lock = [], threading.Lock()

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
      body = self.rfile.read(int(self.headers["Content-Length"]))
      record = {
        "path": self.path,
        "headers": dict(self.headers),
        "json": json.loads(body),
      }
      with lock:
        number = len(requests)
        requests.append(record)
      answer = reply(number, record)
      if answer is None:
        self.close_connection = True
        return
      status, data, headers = answer
      self.send_response(status)
      for name, value in headers.items():
        self.send_header(name, value)
      self.send_header("Content-Length", str(len(data)))
      self.end_headers()
      with contextlib.suppress(OSError):  # the client may have gone
        self.wfile.write(data)

    def log_message(self, *args):
      pass

  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
  thread.start()
  try:
    yield f"http://127.0.0.1:{server.server_address[1]}/v1", requests
  finally:
    server.shutdown()
    thread.join()
    server.server_close()
