"""What the estimator and the refiner learn from."""
