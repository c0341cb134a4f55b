"""All that is changed in RecBole, and nowhere else."""
