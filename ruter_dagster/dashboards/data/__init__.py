"""The data of the dashboard's pages: functions of a reader and a selection, and the sentences that state the answers.

Code that imports Streamlit does not belong here.
"""
