"""The demo: a year of real files, and one day of them through the daily DAG."""
