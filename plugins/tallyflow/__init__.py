"""The Airflow side of Tallyflow: its settings and the DAG of a dataset."""
