import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as Semantics from "../../../src/Semantics.js"
import type { InvalidRequest } from "../../../src/ThreadlineError.js"
import * as Host from "../../support/auditedHost.js"

const actor = Actor.user("alice")

const Actions = Semantics.catalogue({ "post.created": { data: Schema.Struct({ titles: Schema.Number }) } })

/** A write whose id is known only afterwards. */
const insert = (id: number) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql<{ readonly id: number }>`insert into posts (id, title) values (${id}, 'x') returning id`
  )

const named = (rows: ReadonlyArray<{ readonly id: number }>) =>
  Actions["post.created"]({ titles: rows.length }, { subject: { type: "post", id: rows[0]?.id ?? 0 } })

layer(Host.layer, { excludeTestServices: true })("an action made from the result", (it) => {
  it.effect("is recorded with what only the result tells, outermost and nested, data first and last", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const first = yield* Audit.transaction(insert(1), { actor, action: named, reason: "due" })
      yield* insert(2).pipe(Audit.transaction({ actor, action: named }))
      yield* Audit.transaction(Audit.transaction(insert(3), { action: named }), { actor })
      expect(Option.isSome(first.actionId)).toBe(true)
      const rows = yield* Host.actions
      expect(rows).toMatchObject(
        [1, 2, 3].map((id) => ({
          name: "post.created",
          subject_type: "post",
          subject_id: String(id),
          data: { titles: 1 },
          status: "ok"
        }))
      )
      expect(rows[0]).toMatchObject({ reason: "due", id: Option.getOrThrow(first.actionId) })
      expect((yield* Host.transactions).map((row) => row["action_id"])).toEqual(rows.map((row) => row["id"]))
    })
  )

  it.effect("is the one that the call returns, whatever its body recorded before", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const body = (id: number) =>
        Effect.zipRight(insert(id), Effect.all([Audit.record("looked"), Audit.record("looked.again")]))
      const own = yield* Audit.transaction(body(1), { actor, action: "post.checked" })
      const none = yield* Audit.transaction(body(2), { actor })
      const inside = yield* Audit.transaction(Audit.transaction(body(3), { action: "inner" }), {
        actor,
        action: "outer"
      })
      const ids = new Map((yield* Host.actions).map((row) => [row["name"], row["id"]]))
      expect(Option.getOrNull(own.actionId)).toBe(ids.get("post.checked"))
      expect(Option.isNone(none.actionId)).toBe(true)
      expect(Option.getOrNull(inside.actionId)).toBe(ids.get("outer"))
      expect(Option.getOrNull(inside.value.actionId)).toBe(ids.get("inner"))
    })
  )

  it.effect("belongs to the attempt that succeeded", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      let attempts = 0
      const flaky = Effect.suspend(() =>
        ++attempts < 3
          ? Effect.zipRight(insert(1), sql`do $$ begin raise exception 'again' using errcode = '40001'; end $$`)
          : insert(1)
      )
      yield* Audit.transaction(flaky, {
        actor,
        action: () => `attempt ${attempts}`,
        retry: Schedule.recurs(5)
      })
      expect((yield* Host.actions).map((row) => row["name"])).toEqual(["attempt 3"])
    })
  )

  it.effect("is refused if it is wrong, and everything is rolled back", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const wrong = yield* Effect.flip(Audit.transaction(insert(1), { actor, action: () => "" }))
      expect(wrong).toMatchObject({ _tag: "threadline/InvalidRequest", field: "action.name" })
      const thrown = yield* Effect.exit(
        Audit.transaction(insert(1), {
          actor,
          action: () => {
            throw new Error("a bug of the host")
          }
        })
      )
      expect(thrown).toMatchObject({ cause: { _tag: "Die" } })
      const keptFailure = yield* Effect.flip(
        Audit.transaction(insert(1), { actor, action: named, onFailure: "record" })
      )
      expect(keptFailure).toMatchObject({ field: "onFailure" })
      expect(yield* Host.postIds).toEqual([])
      expect(yield* Host.poolIsClean(5)).toBe(true)
    })
  )

  it.effect("of a failure is recorded with status error, and the caller gets the failure", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const failing = Effect.zipRight(insert(1), Effect.fail({ _tag: "InvoiceIsPaid", invoice: 7 }))
      const attempt = (onError: Audit.Options["onError"]) =>
        Effect.flip(Audit.transaction(failing, { actor, action: named, onError }))
      const failure = { _tag: "InvoiceIsPaid", invoice: 7 }
      expect(yield* attempt("post.refused")).toEqual(failure)
      expect(yield* attempt((error) => ({ name: "post.refused", data: error }))).toEqual(failure)
      // What cannot be recorded is logged, never thrown.
      expect(yield* attempt(() => "")).toEqual(failure)
      expect(
        yield* attempt(() => {
          throw new Error("a bug of the host")
        })
      ).toEqual(failure)
      yield* Audit.transaction(
        Effect.ignore(Audit.transaction(failing, { action: "inner", onError: "inner.refused" })),
        { actor, action: "outer", onError: "never" }
      )
      expect((yield* Host.actions).map(({ data, name, status }) => [name, status, data])).toEqual([
        ["post.refused", "error", null],
        ["post.refused", "error", failure],
        ["outer", "ok", null],
        ["inner.refused", "error", null]
      ])
      for (const options of [{ onError: "" }, { onError: "a", onFailure: "record" }] as const) {
        expect(yield* Effect.flip(Audit.transaction(insert(1), { actor, action: "a", ...options }))).toMatchObject({
          _tag: "threadline/InvalidRequest"
        })
      }
      expect(yield* Host.postIds).toEqual([])
    })
  )
})

layer(Host.layer, { excludeTestServices: true })("Audit.withTransaction", (it) => {
  it.effect("returns the value alone, in both forms", () =>
    Effect.gen(function* () {
      yield* Host.reset
      expect(yield* Audit.withTransaction(insert(1), { actor, action: named })).toEqual([{ id: 1 }])
      expect(yield* insert(2).pipe(Audit.withTransaction({ actor }))).toEqual([{ id: 2 }])
      expect((yield* Host.changes).map(({ actor: who, row }) => [row, who])).toEqual([
        ["1", "user:alice"],
        ["2", "user:alice"]
      ])
    })
  )

  it.effect("fails with errors that a host tells apart by their reason", () =>
    Effect.gen(function* () {
      const answer = (effect: Effect.Effect<unknown, Audit.AuditError | InvalidRequest | string, Audit.Audit>) =>
        effect.pipe(
          Effect.as(204),
          Effect.catchIf(Audit.hasReason("NoChanges"), (error) => Effect.succeed([error.reason, 404])),
          Effect.catchIf(Audit.hasReason("Unreachable", "MissingActor"), (error) =>
            Effect.succeed([error.reason, 503])
          ),
          Effect.merge
        )
      expect(yield* answer(Audit.withTransaction(Effect.void, { actor, requireChanges: true }))).toEqual([
        "NoChanges",
        404
      ])
      expect(yield* answer(Audit.withTransaction(Effect.void))).toEqual(["MissingActor", 503])
      expect(yield* answer(Effect.fail("the host's own"))).toBe("the host's own")
      expect(yield* answer(Audit.withTransaction(Effect.void, { actor }))).toBe(204)
    })
  )
})
