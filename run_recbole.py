"""Train and evaluate UR4Rec, or any model of RecBole.

python run_recbole.py --model=UR4Rec --config_files=properties/balanced.yaml
python run_recbole.py --model=SASRec --dataset=ml-100k --train_neg_sample_args=None
"""

import sys

from ur4rec_recbole.runs.quick_start import main

if __name__ == "__main__":
    sys.exit(main())
