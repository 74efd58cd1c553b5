/** Random filters over the histories of `queryModel`. */
import * as FastCheck from "effect/FastCheck"
import type * as Query from "../../src/Query.js"

export const filters = (instants: ReadonlyArray<string>) => {
  const instant = FastCheck.constantFrom(...instants)
  const sometimes = <A>(arbitrary: FastCheck.Arbitrary<A>) => FastCheck.option(arbitrary, { nil: undefined, freq: 1 })
  const rarely = <A>(arbitrary: FastCheck.Arbitrary<A>) =>
    FastCheck.oneof({ weight: 11, arbitrary: FastCheck.constant(undefined) }, { weight: 1, arbitrary })
  return FastCheck.record({
    table: sometimes(
      FastCheck.constantFrom<NonNullable<Query.FilterInput["table"]>>(
        "posts",
        "notes",
        ["posts", "notes"],
        ["posts", "members"]
      )
    ),
    schema: rarely(FastCheck.constantFrom("public", "other")),
    key: rarely(FastCheck.constantFrom("1", "2", "3")),
    op: rarely(
      FastCheck.constantFrom<NonNullable<Query.FilterInput["op"]>>(
        "insert",
        "delete",
        ["update", "truncate"],
        ["update"]
      )
    ),
    contains: rarely(
      FastCheck.constantFrom<NonNullable<Query.FilterInput["contains"]>>(
        { id: 1 },
        { v: 0 },
        { id: 2, v: 1 },
        { none: 1 }
      )
    ),
    changedField: rarely(
      FastCheck.constantFrom<NonNullable<Query.FilterInput["changedField"]>>("v", ["id", "v"], "none")
    ),
    actor: rarely(
      FastCheck.constantFrom<NonNullable<Query.FilterInput["actor"]>>(
        { type: "user" },
        { type: "user", id: "2" },
        { type: "job", id: "1" }
      )
    ),
    impersonator: rarely(
      FastCheck.constantFrom<NonNullable<Query.FilterInput["impersonator"]>>(
        { type: "admin" },
        { type: "admin", id: "9" }
      )
    ),
    actorLabel: rarely(FastCheck.constantFrom("LICE", "desk", "none")),
    unattributed: rarely(FastCheck.boolean()),
    action: rarely(FastCheck.constantFrom<NonNullable<Query.FilterInput["action"]>>("did", ["did", "made"], "none")),
    actionStatus: rarely(FastCheck.constantFrom<NonNullable<Query.FilterInput["actionStatus"]>>("ok", "error")),
    correlationId: rarely(FastCheck.constantFrom("c0", "c1", "none")),
    includeCaptureOnly: FastCheck.boolean(),
    requestId: rarely(FastCheck.constantFrom("r0", "r1")),
    jobId: rarely(FastCheck.constantFrom("j0", "j1")),
    traceId: rarely(FastCheck.constantFrom("t0", "t1")),
    source: rarely(FastCheck.constantFrom("web", "worker")),
    dbUser: rarely(FastCheck.constantFrom("app", "psql")),
    meta: rarely(FastCheck.constantFrom<NonNullable<Query.FilterInput["meta"]>>({ step: { kind: 1 } })),
    transactionId: FastCheck.oneof(
      { weight: 9, arbitrary: FastCheck.constant(undefined) },
      { weight: 1, arbitrary: FastCheck.constantFrom("1", "2", "3") }
    ),
    from: sometimes(instant),
    to: sometimes(instant),
    order: FastCheck.constantFrom<NonNullable<Query.FilterInput["order"]>>("newest", "oldest")
  }).map(possible)
}

/** Removes fields that contradict each other. */
const possible = ({
  actionStatus,
  actorLabel,
  changedField,
  from,
  impersonator,
  includeCaptureOnly,
  key,
  schema,
  to,
  unattributed,
  ...rest
}: Query.FilterInput): Query.FilterInput => {
  const attributed = rest.actor !== undefined || impersonator !== undefined || actorLabel !== undefined
  const ofActions = rest.action !== undefined || actionStatus !== undefined
  const backwards = from !== undefined && to !== undefined && to < from
  return {
    ...rest,
    actionStatus,
    actorLabel,
    impersonator,
    ...(typeof rest.table === "string" ? { key } : {}),
    ...(rest.table === undefined || schema === "public" ? { schema } : {}),
    ...(rest.op === undefined || rest.op.includes("update") ? { changedField } : {}),
    ...(attributed ? {} : { unattributed }),
    ...(rest.correlationId === undefined || ofActions ? {} : { includeCaptureOnly }),
    ...(backwards ? { from: to, to: from } : { from, to })
  }
}
