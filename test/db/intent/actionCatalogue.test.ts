import { expect, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as Semantics from "../../../src/Semantics.js"
import * as Host from "../../support/auditedHost.js"

const alice = Actor.user("alice")

const Actions = Semantics.catalogue({
  "post.created": {
    data: Schema.Struct({ title: Schema.NonEmptyString, publishAt: Schema.optional(Schema.Date) }),
    verb: "create",
    category: "content"
  },
  "post.archived": { verb: "archive" },
  "post.counted": { data: Schema.Int }
})

it("a catalogue's actions take what their schemas say", () => {
  expect(Actions["post.created"].action).toBe("post.created")
  expect(Actions["post.archived"].spec).toEqual({ verb: "archive" })
  expect(Actions["post.archived"]({ reason: "outdated" })).toMatchObject({
    name: "post.archived",
    verb: "archive",
    reason: "outdated"
  })
  const refusedByTheCompiler = [
    // @ts-expect-error data is required
    () => Actions["post.created"](),
    // @ts-expect-error a title is a text
    () => Actions["post.created"]({ title: 1 }),
    // @ts-expect-error this action has no data
    () => Actions["post.archived"]({ title: "x" }),
    // @ts-expect-error no such action
    () => Actions["post.deleted"]
  ]
  expect(refusedByTheCompiler.length).toBe(4)
})

layer(Host.layer, { excludeTestServices: true })("Semantics", (it) => {
  it.effect("records the encoded data of a catalogue's action, with verb, category and remarks", () =>
    Effect.gen(function* () {
      yield* Host.reset
      yield* Semantics.record(
        Actions["post.created"](
          { title: "Ship audit logs", publishAt: new Date(0) },
          { subject: { type: "post", id: "1" }, comment: "at last" }
        ),
        { actor: alice, reason: "launch" }
      )
      yield* Semantics.record(Actions["post.archived"](), { actor: alice })
      yield* Audit.transaction(Host.insertPost(1), { action: Actions["post.counted"](3), actor: alice })
      expect(yield* Host.actions).toMatchObject([
        {
          name: "post.created",
          verb: "create",
          category: "content",
          reason: "launch",
          comment: "at last",
          subject_type: "post",
          subject_id: "1",
          data: { title: "Ship audit logs", publishAt: "1970-01-01T00:00:00.000Z" }
        },
        { name: "post.archived", verb: "archive", category: null, data: null },
        { name: "post.counted", data: 3 }
      ])
    })
  )

  it.effect("refuses data that does not fit, before anything runs, and says where", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const wrong = [
        Actions["post.created"]({ title: "" }),
        Actions["post.created"]({ title: "x", publishAt: new Date(Number.NaN) }),
        Actions["post.counted"](1.5)
      ]
      const errors = yield* Effect.forEach(wrong, (action) =>
        Effect.flip(Audit.transaction(Host.insertPost(1), { action, actor: alice }))
      )
      expect(errors).toMatchObject([
        { _tag: "threadline/InvalidRequest", field: "action.data.title" },
        { _tag: "threadline/InvalidRequest", field: "action.data.publishAt" },
        { _tag: "threadline/InvalidRequest", field: "action.data" }
      ])
      expect(yield* Effect.flip(Semantics.record(Actions["post.counted"](1.5), { actor: alice }))).toMatchObject({
        field: "action.data"
      })
      expect(yield* Host.postIds).toEqual([])
      expect(yield* Host.actions).toEqual([])
    })
  )

  it.effect("refuses names that the database does", () =>
    Effect.gen(function* () {
      for (const name of ["", "é".repeat(129), "a\0b"]) {
        const error = yield* Effect.flip(Semantics.record(Semantics.action(name)(), { actor: alice }))
        expect(error).toMatchObject({ _tag: "threadline/InvalidRequest", field: "action.name" })
      }
    })
  )

  it.effect("works for schemas that need an effect to encode", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const Slow = Schema.transformOrFail(Schema.String, Schema.Number, {
        strict: true,
        decode: (text) => Effect.succeed(Number(text)),
        encode: (number) => Effect.as(Effect.yieldNow(), String(number))
      })
      yield* Semantics.record(Semantics.action("slow", { data: Slow })(7), { actor: alice })
      expect(yield* Host.actions).toMatchObject([{ name: "slow", data: "7" }])
    })
  )
})
