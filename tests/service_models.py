"""AWS's service models, read from disk once; botocore would read them for every session.

SageMaker's alone takes 0.2 s. Importing this module is enough.
"""

import functools

from botocore.loaders import JSONFileLoader

_read = JSONFileLoader.load_file


@functools.cache
def _model(path: str) -> object:
    return _read(JSONFileLoader(), path)


def _load_file(loader: JSONFileLoader, file_path: str) -> object:
    # botocore removes the bucket from the addresses in its copy of S3's model.
    return _read(loader, file_path) if "/s3/" in file_path else _model(file_path)


JSONFileLoader.load_file = _load_file
