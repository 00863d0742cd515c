"""AWS's answers, made up for one session: what each operation answers, by the shapes of botocore."""

import copy
import functools
from types import SimpleNamespace

import boto3

PLANE = {"region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}


class Answers:
    """A session whose operations answer from a table, without a request.

    An answer is a dictionary, a function of the request, or an error: its code and its words. Requests are
    checked by botocore, and kept in `asked`, in order.
    """

    def __init__(self):
        self.reset({})
        self.session = boto3.Session(**PLANE)
        self.session.client = functools.cache(self.session.client)
        self.session.events.register("before-call", self._answer)
        self.session.events.register("provide-client-params", self._keep)

    def reset(self, table):
        """Begin anew, with the same clients: making one takes longer than many answers."""
        self.table = dict(table)
        self.asked = []
        self._requests = []

    def deny(self, operation):
        self.table[operation] = ("AccessDenied", f"not authorized to perform {operation}")

    def _keep(self, params, **_):
        self._requests.append(params)

    def _answer(self, model, **_):
        request = self._requests.pop()
        self.asked.append((model.name, request))
        answer = self.table[model.name]
        answer = answer(request) if callable(answer) else answer
        if isinstance(answer, tuple):
            code, message = answer
            return SimpleNamespace(status_code=400), {"Error": {"Code": code, "Message": message}}
        return SimpleNamespace(status_code=200), copy.deepcopy(answer)
