import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Actor from "../../src/Actor.js"
import * as Semantics from "../../src/Semantics.js"
import { InvalidRequest } from "../../src/ThreadlineError.js"

it("Semantics.toSql makes the statement that records an action, every parameter text", () => {
  expect(Semantics.toSql("report.read")).toEqual({
    text: `select "threadline".record_action($1::text::jsonb)::text as id`,
    values: [`{"name":"report.read"}`]
  })
  expect(
    Semantics.toSql(
      { name: "invoice.paid", subject: { type: "invoice", id: 1001 }, data: { amount: "12.50" } },
      { reason: "paid", status: "error", context: { actor: Actor.user(42) }, schema: `Odd."Schema` }
    )
  ).toEqual({
    text: `select "Odd.""Schema".record_action($1::text::jsonb, $2::text::jsonb)::text as id`,
    values: [
      `{"name":"invoice.paid","status":"error","reason":"paid","subject":{"type":"invoice","id":"1001"},"data":{"amount":"12.50"}}`,
      `{"actor":{"type":"user","id":"42"}}`
    ]
  })
})

it("Semantics.toSql encodes the data of a catalogue, and refuses what it cannot", () => {
  const actions = Semantics.catalogue({
    sent: { data: Schema.Struct({ at: Schema.Date }) },
    asked: {
      data: Schema.transformOrFail(Schema.String, Schema.String, {
        decode: (text) => Effect.succeed(text),
        encode: (text) => Effect.delay(Effect.succeed(text), "1 second")
      })
    }
  })
  expect(Semantics.toSql(actions.sent({ at: new Date(0) })).values).toEqual([
    `{"name":"sent","data":{"at":"1970-01-01T00:00:00.000Z"}}`
  ])
  const refusal = (call: () => unknown): unknown => {
    try {
      return call()
    } catch (error) {
      return error
    }
  }
  const refusals: ReadonlyArray<readonly [field: string, call: () => unknown]> = [
    ["action", () => Semantics.toSql(7 as never)],
    ["action.name", () => Semantics.toSql("")],
    ["action.subject.id", () => Semantics.toSql({ name: "a", subject: { type: "b", id: 1.5 } })],
    ["action.data", () => Semantics.toSql({ name: "a", data: "nul\0" })],
    ["action.data", () => Semantics.toSql(actions.asked("later"))],
    ["status", () => Semantics.toSql("a", { status: "fine" as never })],
    ["schema", () => Semantics.toSql("a", { schema: "" })],
    ["actor.type", () => Semantics.toSql("a", { context: { actor: { type: "customer" as never, id: "1" } } })],
    ["reasons", () => Semantics.toSql("a", { reasons: "x" } as never)],
    ["options", () => Semantics.toSql("a", null as never)]
  ]
  for (const [field, call] of refusals) {
    const error = refusal(call)
    expect(error).toBeInstanceOf(InvalidRequest)
    expect(error).toMatchObject({ field })
  }
})
