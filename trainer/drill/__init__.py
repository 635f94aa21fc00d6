"""Does a run that is killed again and again end where an uninterrupted one ends?"""
