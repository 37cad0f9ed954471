"""The Beam side of Tallyflow: jobs that count and aggregate files. Imports no Airflow."""
