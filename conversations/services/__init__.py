"""The verbs: what is done with several rows, in transactions. They know no HTTP; which rows is said by the querysets."""
