"""SageMaker Runtime on loopback, for the command that uses an endpoint."""

import io
import json
from http.server import BaseHTTPRequestHandler

import numpy as np

SCRIPT = "predict.py"
ENDPOINT = "image-classification"
ANSWER = {"label": "große Bienen", "probabilities": {"ants": 0.25, "große Bienen": 0.75}}
# The answer of a model of this version, with the map.
EXPLAINED = {**ANSWER, "known": False, "score": 1.25, "map": [[0.5, -1.0], [0.0, 2.0]], "map_side": 0.5}

THROTTLED = (400, "application/json", b'{"message": "Rate exceeded"}', "ThrottlingException")
UNAVAILABLE = (503, "application/json", b'{"message": "busy"}', "ServiceUnavailable")


def model_error(status, message):
    """How SageMaker passes on a container's error."""
    original = json.dumps({"code": "invalid", "message": message})
    told = {"Message": "Received an error", "OriginalStatusCode": status, "OriginalMessage": original}
    return 424, "application/json", json.dumps(told).encode(), "ModelError"


def npy(values):
    file = io.BytesIO()
    np.save(file, np.array(values, np.float32))
    return file.getvalue()


class Runtime(BaseHTTPRequestHandler):
    """SageMaker Runtime with one endpoint: bees for pictures, equivalent scores for tensors.

    It refuses pictures whose bytes end in BAD, and answers the first requests with `server.errors`.
    """

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.headers["Content-Type"], body))
        if self.server.errors:
            return self.answer(*self.server.errors.pop(0))
        if body.endswith(b"BAD"):
            return self.answer(*model_error(400, "The body is truncated."))
        if body.endswith(b"SLOW"):
            self.server.stop.wait(30)
        if self.path != f"/endpoints/{ENDPOINT}/invocations":
            message = {"message": f"Endpoint {self.path.split('/')[2]} of account 123456789012 not found."}
            return self.answer(400, "application/json", json.dumps(message).encode(), "ValidationError")
        if self.headers["Accept"] == "application/json;explain=map":
            return self.answer(200, "application/json", json.dumps(EXPLAINED).encode())
        if self.headers["Accept"] == "application/x-npy":
            return self.answer(200, "application/x-npy", npy([[0.0, np.log(3)]]))
        return self.answer(200, "application/json", json.dumps(ANSWER).encode())

    def answer(self, status, content_type, body, error=None):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing to stderr."""
