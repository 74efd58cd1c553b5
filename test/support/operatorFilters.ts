/** Random valid filters with hostile values, for tests of the other forms of a filter. */
import * as Either from "effect/Either"
import * as fc from "effect/FastCheck"
import type { Json } from "threadline"
import * as Query from "../../src/Query.js"

const text = fc.oneof(
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 }),
  fc.constantFrom(
    "--json",
    "-5",
    "it's",
    '"',
    "\\",
    "a b",
    "$HOME",
    "`x`",
    "a:b",
    "\u202e",
    "\n",
    "[1]",
    "{}",
    "&=+%",
    " lead"
  )
)

const sometimes = <A>(arbitrary: fc.Arbitrary<A>) => fc.option(arbitrary, { nil: undefined, freq: 2 })

const list = <A>(arbitrary: fc.Arbitrary<A>) =>
  fc
    .tuple(arbitrary, fc.array(arbitrary, { maxLength: 2 }))
    .map(([first, others]): readonly [A, ...Array<A>] => [first, ...others])

const document: fc.Arbitrary<Json.JsonObject> = fc.dictionary(
  text,
  fc.oneof(text, fc.integer(), fc.boolean(), fc.constant(null)),
  {
    minKeys: 1,
    maxKeys: 2
  }
)

const actor = fc.oneof(
  fc.record({ type: fc.constantFrom("user", "admin", "service_account", "job", "system"), id: sometimes(text) }),
  fc.constant({ type: "anonymous" as const })
)

const instant = fc
  .tuple(fc.integer({ min: 0, max: 4_000_000_000 }), fc.integer({ min: 0, max: 999_999 }))
  .map(
    ([seconds, micros]) => `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(micros).padStart(6, "0")}Z`
  )

const inputs: fc.Arbitrary<Query.FilterInput> = fc.record({
  table: sometimes(list(fc.constantFrom("posts", "billing.invoices", '"Odd.Schema"."T x"', '"a""b"'))),
  key: sometimes(text),
  op: sometimes(list(fc.constantFrom<Query.Operation>("insert", "update", "delete", "truncate", "baseline"))),
  contains: sometimes(document),
  changedField: sometimes(list(text)),
  actor: sometimes(actor),
  impersonator: sometimes(actor),
  actorLabel: sometimes(text),
  unattributed: sometimes(fc.boolean()),
  action: sometimes(list(text)),
  actionStatus: sometimes(fc.constantFrom("ok", "error")),
  correlationId: sometimes(text),
  includeCaptureOnly: sometimes(fc.boolean()),
  requestId: sometimes(text),
  jobId: sometimes(text),
  traceId: sometimes(text),
  source: sometimes(text),
  meta: sometimes(document),
  dbUser: sometimes(text),
  transactionId: sometimes(fc.constantFrom("1", "9223372036854775807")),
  from: sometimes(instant),
  to: sometimes(instant),
  order: fc.constantFrom("newest", "oldest")
}) as fc.Arbitrary<Query.FilterInput>

/** Removes fields that contradict each other. */
const possible = (input: Query.FilterInput): Query.FilterInput => ({
  ...input,
  key: Array.isArray(input.table) && input.table.length === 1 ? input.key : undefined,
  changedField: input.op === undefined ? input.changedField : undefined,
  unattributed:
    input.actor === undefined && input.impersonator === undefined && input.actorLabel === undefined
      ? input.unattributed
      : undefined,
  includeCaptureOnly:
    input.correlationId !== undefined && input.action === undefined && input.actionStatus === undefined
      ? input.includeCaptureOnly
      : undefined,
  to: input.from === undefined ? input.to : undefined
})

export const filters: fc.Arbitrary<Query.Filter> = inputs
  .map((input) => Query.filterFromInput(possible(input)))
  .filter(Either.isRight)
  .map(({ right }) => right)
