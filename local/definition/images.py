"""What only a container image has: one of AWS's built-in algorithms, recognized by its name; a program."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from local.definition.expressions import quoted

# The registries and repositories that the SageMaker Python SDK 3.27.0 lists for the algorithms, over all
# regions (sagemaker/core/image_uri_config/<algorithm>.json). The SDK itself takes seconds to import.
ALGORITHMS = frozenset(
    {
        "blazingtext", "factorization-machines", "forecasting-deepar", "image-classification", "ipinsights",
        "kmeans", "knn", "lda", "linear-learner", "ntm", "object-detection", "object2vec", "pca",
        "randomcutforest", "sagemaker-xgboost", "semantic-segmentation", "seq2seq", "xgboost",
    }
)  # fmt: skip
REGISTRIES = frozenset(
    {
        104374241257, 106583098589, 108575199400, 121021644041, 124985052026, 141502667606, 156387875391,
        174872318107, 190319476487, 204372634319, 224300973850, 226302683700, 237065988967, 246618743249,
        249704162688, 257386234256, 257758044811, 258307448986, 266724342769, 272398656194, 281123927165,
        286214385809, 293181348795, 297031611018, 306986355934, 341280168497, 351501993468, 353608530281,
        354813040037, 366743142698, 382416733822, 387376663083, 390948362332, 404615174143, 414596584902,
        433757028032, 438346466558, 450853457545, 451049120500, 455444449433, 469771592824, 475088953585,
        490574956308, 492215442770, 495149712605, 501404015308, 510948584623, 514117268639, 522234722520,
        544295431143, 566113047672, 628508329040, 632365934929, 633353088612, 644912444149, 651117190479,
        659782779980, 662702820516, 664544806723, 669576153137, 680994064768, 683313688378, 685385470294,
        712309505854, 720646828776, 737474898029, 746614075791, 749696950732, 764974769150, 765400339828,
        766337827248, 783357654285, 801668240914, 811284229777, 813361260812, 825641698319, 833128469047,
        835164637446, 855470959533, 867004704886, 898809789911, 951798379941, 978288397137, 991648021394,
        999678624901, 999911452149,
    }
)  # fmt: skip
_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr\.[^/]+/([^/:@]+)(?:[:@].*)?")


def not_run(image: Any) -> str:
    """Why a job with this image alone cannot run here; `image` may be an expression of the definition."""
    found = _IMAGE.fullmatch(image) if isinstance(image, str) else None
    shown = image if isinstance(image, str) else quoted(image)
    if found and int(found[1]) in REGISTRIES and found[2] in ALGORITHMS:
        return f"AWS's built-in algorithm {found[2]} (the image {shown}) is not run here"
    return f"the image {shown} is not run here"


def not_found(entrypoint: Any, environment: Any) -> str:
    """Why a ContainerEntrypoint cannot run here; "" if it can, or if only the job can tell.

    Example: NotebookJobStep's amazon_sagemaker_scheduler, a program of the image SageMaker Distribution.
    """
    program = entrypoint[0] if isinstance(entrypoint, list) else None
    own_path = isinstance(environment, dict) and "PATH" in environment
    if not isinstance(program, str) or "/" in program or own_path:
        return ""
    # As processes/environment.py has it.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if shutil.which(program, path=path):
        return ""
    return f"the program {program} of ContainerEntrypoint is not on this machine, and images are not run here"
