"""What is known of a running pipeline: folds over its public and control topics, and what they say."""
