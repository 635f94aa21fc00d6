"""The forced-choice study: which of two methods do people prefer?"""
