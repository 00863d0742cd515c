"""Every string that crosses a process, once.

The steps write these names into the pipeline definition, the programs read them in their
containers, and the local service reads the same definition. Nothing here imports anything.
"""

# This project's version, as in pyproject.toml; model.json names it.
VERSION = "0.1.0"

# Input channels of the training jobs; the toolkit passes each as SM_CHANNEL_<NAME>.
TRAIN = "train"
VALIDATION = "validation"
PRETRAINED = "pretrained"
# The third split; an input of the evaluation only.
TEST = "test"

# This file alone in the `pretrained` channel means: start from random weights.
RANDOM_WEIGHTS = "RANDOM_WEIGHTS"
WEIGHTS_SUFFIXES = (".pth", ".pt", ".safetensors")

# The default of the hyperparameter `backbone`: a row of backbones.py.
BACKBONE = "ResNet18"
# The smallest side of its pictures. It halves them five times: below this its last block strides over 1 x 1
# pixel, whose gradient oneDNN (torch 2.14.1) leaves uninitialised in bfloat16.
MIN_IMAGE_PX = 32
# Former names of values of the hyperparameter `trainable`.
RENAMED_TRAINABLE = {"layer4": "last_block"}

# One line of the log per epoch. SageMaker searches it with the regexes below; group 1 is the number.
# Order and names as in `metric_line`.
TRAIN_LOSS = "train:loss"
VALIDATION_LOSS = "validation:loss"
VALIDATION_ACCURACY = "validation:accuracy"
METRICS = (TRAIN_LOSS, VALIDATION_LOSS, VALIDATION_ACCURACY)
METRIC_REGEXES = {name: rf"\b{name}=([0-9.eE+-]+|nan|inf)" for name in METRICS}


def metric_line(epoch: int, train_loss: float, validation_loss: float, validation_accuracy: float) -> str:
    """The line that a training program prints once per epoch (epochs count from 1, accuracy 0..1)."""
    values = zip(METRICS, (train_loss, validation_loss, validation_accuracy), strict=True)
    return f"epoch={epoch} " + " ".join(f"{name}={value:.6f}" for name, value in values)


# Processing containers: where inputs, outputs and code are. Programs get these as arguments only.
PROCESSING = "/opt/ml/processing"
PROCESSING_CODE = f"{PROCESSING}/code"
# Up to 1 KiB of this file becomes a processing job's ExitMessage.
EXIT_MESSAGE = "/opt/ml/output/message"

# Files that one program writes and another reads.
SPLIT_SUMMARY = "summary.json"
EVALUATION = "evaluation.json"
PREDICTIONS = "predictions.json"
# The surest of the wrong predictions have a map in predictions.json; the report shows them.
WORST_MISTAKES = 24
# CheckAccuracy's property file, a few numbers only: SageMaker reads at most 2 MB, and evaluation.json with
# its confusion matrix exceeds that from about 205 classes.
GATE = "gate.json"
# EvaluateModel's part of the model package's card, a separate property file: JSON strings under these names,
# and one for each of CARD_DETAILS under "details".
PACKAGE_CARD = "card.json"
CARD_TRAINING_METRICS = "training_metrics"
CARD_HYPERPARAMETERS = "hyper_parameters"
CARD_TRAINING_OBSERVATION = "training_observations"
CARD_OBSERVATION = "evaluation_observation"
CARD_METRIC_GROUPS = "metric_groups"
CARD_DETAILS = ("data_sha256", "test_data_sha256", "architecture", "weights", "versions")
# The card's detail that only the definition knows, and its placeholder until then.
DEFINITION_SHA256 = "definition_sha256"
NO_SHA256 = "0" * 64
MODEL_ARCHIVE = "model.tar.gz"
MODEL_WEIGHTS = "model.safetensors"
MODEL_CARD = "model.json"
# The digests of the model's training and validation pictures (digests.py).
TRAINED_ON = "trained_on.npy"
# Statistics of the training pictures' features (serving/known.py). Not in model.json: 512 x 512 numbers are
# 1 MB here and 5 MB as JSON.
KNOWN = "known.npz"
# The engines that serve the model, best first: names, and files in the artifact.
ENGINES = {"int8": "model.int8.onnx", "fp32": "model.onnx"}
# A few test pictures beside evaluation.json, and the evaluation's answers: VerifyEndpoint's questions.
SAMPLES = "samples"
SAMPLE_ANSWERS = "answers.json"

# A training job's own measurements, in output.tar.gz: CSV files with these columns and a header line.
# A row of steps.csv covers all steps since the row before (one step, in short trainings): `step` is the last
# of them (from 1 in the training), `loss` their mean, `learning_rate` the last one's, times are sums.
TRAINING_STEPS = "steps.csv"
STEP_COLUMNS = (
    "step", "epoch", "loss", "learning_rate", "data_s", "forward_s", "backward_s", "optimizer_s",
)  # fmt: skip
TRAINING_EPOCHS = "epochs.csv"
EPOCH_COLUMNS = ("epoch", "train_loss", "validation_loss", "validation_accuracy", "seconds", "validation_s")

# ... and the pictures whose label may be wrong (suspects.py).
SUSPECTS = "suspects.json"

# Values of the setting gate.metric, which AccuracyThreshold is compared with.
ACCURACY = "accuracy"
GATE_METRICS = (ACCURACY, "balanced_accuracy", "macro_f1")
# Inside evaluation.json's "worth": the share of the test pictures that the model calls known.
KNOWN_SHARE = "known"
# Inside gate.json, the numbers that conditions compare: the metric and its interval's lower bound (0..1), the
# accuracy's lower bound, and the accuracy of always answering the most frequent class.
METRIC_VALUE = "value"
METRIC_LOWER_BOUND = "lower_bound"
ACCURACY_LOWER_BOUND = "accuracy_lower_bound"
MAJORITY_ACCURACY = "majority_accuracy"
# ... the Fail steps' sentences, and the numbers in them, rounded so that a failure still reads as one.
MEASURED = "measured"
METRIC_VALUE_TEXT = "value_text"
METRIC_LOWER_BOUND_TEXT = "lower_bound_text"
GUESSING = "guessing"
# ... and the model package's text for each metric, in characters that its metadata accepts.
METADATA = "metadata"
# Comparison with the champion: TRUE if there was one, the bound of the difference's interval that decides,
# that bound in words, and the whole sentence.
COMPARED = "compared"
DIFFERENCE_BOUND = "difference_bound"
DIFFERENCE_BOUND_TEXT = "difference_bound_text"
COMPARISON = "comparison"
TRUE = "true"
FALSE = "false"

# What the endpoint accepts and answers.
JPEG = "image/jpeg"
PNG = "image/png"
WEBP = "image/webp"
ANY_IMAGE = "application/x-image"
NPY = "application/x-npy"
JSON = "application/json"
FORM = "multipart/form-data"
# JSON: {"image": base64} or {"images": [base64, ...]}.
ACCEPTED_CONTENT_TYPES = (JPEG, PNG, WEBP, ANY_IMAGE, NPY, JSON)
# Also accepted, like every other image/*: the types that curl, S3 and other clients send by default. The
# body's bytes decide.
UNSPECIFIC_CONTENT_TYPES = (
    "", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded", "text/plain",
    FORM,
)  # fmt: skip
ANSWERED_CONTENT_TYPES = (JSON, NPY)
# The Accept header's parameter that asks for the class activation map beside the answer.
EXPLAINED_JSON = f"{JSON};explain=map"
# The largest body that InvokeEndpoint takes.
MAX_BODY_BYTES = 25_000_000
# The only container header that InvokeEndpoint passes to the client; holds engine=NAME.
CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"

# The event of the deploying Lambda function ...
MODEL_PACKAGE_ARN = "model_package_arn"
ENDPOINT_NAME = "endpoint_name"
ENDPOINT_INSTANCE_TYPE = "endpoint_instance_type"
ENDPOINT_INSTANCE_COUNT = "endpoint_instance_count"
EXECUTION_ROLE = "execution_role"
# ... of a serverless endpoint, which has no instances; empty for one on instances ...
SERVERLESS_CONFIG = "serverless_config"
DEPLOYMENT_CONFIG = "deployment_config"
# ... and its answer, besides endpoint_name. NONE, an impossible resource name, means no name: names become
# arguments of VerifyEndpoint's job, and CreateProcessingJob refuses empty ones.
NONE = "-"
DEPLOYED = "deployed"
REASON = "reason"
ENDPOINT_CONFIG_NAME = "endpoint_config_name"
PREVIOUS_ENDPOINT_CONFIG_NAME = "previous_endpoint_config_name"
MODEL_NAME = "model_name"

# The same function's other event, besides endpoint_name: find the champion, which a new model must match;
# the prefix of the marker for no champion, since an input must exist ...
MODEL_PACKAGE_GROUP_NAME = "model_package_group_name"
NO_CHAMPION_URL = "no_champion_url"
NO_CHAMPION = "NO_CHAMPION"
# ... and its answer, besides reason: the champion's name, NONE for no champion, and its artifact.
CHAMPION = "champion"
CHAMPION_URL = "champion_url"
