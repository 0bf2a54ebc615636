"""What Schemathesis loads before it runs."""

from hypothesis.internal import lambda_sources

# Hypothesis describes each lambda by parsing the file it stands in. Python 3.11 fails at that now and then
# ("AST constructor recursion depth mismatch"), and the descriptions are for messages only.
lambda_sources.lambda_description = lambda function: "lambda: <not shown>"
