"""What fine-tuning needs: pretrained models, vocabularies, the loop."""
