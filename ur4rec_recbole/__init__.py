"""UR4Rec for RecBole: importing this package registers the model with RecBole."""

from ur4rec_recbole.registration import register

__version__ = "0.1.0"

register()
