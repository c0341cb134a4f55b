#!/bin/sh
# Every night: from the shop's tables and yesterday's model to the model that is served.
#
# 30 2 * * *  cd /srv/shop && sh nightly.sh >> nightly.log 2>&1
#
# The folder holds orders.csv and products.csv; `ur4rec serve models/shop` takes the new model by
# itself. Ids are carried over by token; new products are known by their texts. Options for training
# may follow the script's name.
set -eu
run="runs/shop-$(date +%Y-%m-%d-%H%M%S)"
# The last one that has ended: a killed run has no model.
last=$(ls runs/shop-*-all/model.json 2> /dev/null | tail -n 1 || true)
last=${last%/model.json}

ur4rec convert table --interactions orders.csv --items products.csv --all-items --output dataset/shop
ur4rec extract text --dataset shop --data-path dataset --config dataset/shop/shop.yaml \
    --texts dataset/shop/shop.texts.json --output dataset/shop/item_text.npz
# One run with validation says how many epochs; then one of all interactions.
ur4rec train --preset small --dataset shop --config-files dataset/shop/shop.yaml \
    --data_path=dataset --item_text_table=dataset/shop/item_text.npz --user_profile_table=None \
    --run_folder="$run" ${last:+--init-from "$last"} --on all "$@"
ur4rec export "$run-all" --to safetensors --output models/shop
