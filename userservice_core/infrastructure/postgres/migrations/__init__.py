"""
The changes of the schema, in two branches.

`expand` only adds, so the version before still runs on the result: it is applied before an upgrade of the service.
`contract` removes what no running version uses any more: it is applied after.
"""
