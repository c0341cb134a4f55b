"""Train and evaluate UR4Rec, or any model of RecBole: `ur4rec train` under RecBole's usual name.

python run_recbole.py --model=UR4Rec --config_files=properties/balanced.yaml
python run_recbole.py --model=SASRec --dataset=ml-100k --train_neg_sample_args=None
"""

import sys

from ur4rec_recbole.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
