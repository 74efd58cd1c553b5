import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as OpenApi from "@effect/platform/OpenApi"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as AuditContext from "../../../src/AuditContext.js"
import { InvalidRequest } from "../../../src/ThreadlineError.js"
import * as Host from "../../support/auditedHost.js"

const created = Audit.define({
  action: (id: number) => ({ name: "post.created", subject: { type: "post", id: id === 0 ? "" : id } }),
  requireChanges: true
})

const said = (error: unknown): string =>
  Audit.AuditError.is(error) ? `${error.reason} ${error.message}` : error instanceof Error ? error.message : ""

const insert = (id: number) => Effect.as(Host.insertPost(id), id)

layer(Host.layer, { excludeTestServices: true })("Audit.define", (it) => {
  it.effect("audits with options that were checked before", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const asUser = AuditContext.withActor(Actor.user("42"))
      expect(yield* created.transaction(insert(1)).pipe(asUser)).toMatchObject({ value: 1 })
      expect(yield* created.withTransaction(insert(2)).pipe(asUser)).toBe(2)
      expect(yield* Host.actions).toMatchObject([
        { name: "post.created", subject_id: "1" },
        { name: "post.created", subject_id: "2" }
      ])
    })
  )

  it.effect("throws at once what is wrong in its options", () =>
    Effect.sync(() => {
      const wrong: ReadonlyArray<readonly [field: string, options: Audit.Options]> = [
        ["action.name", { action: "" }],
        ["action.name", { onError: { name: "" } }],
        ["captureOnly", { action: "a", captureOnly: true }],
        ["correlationId", { correlationId: "" }],
        ["actor.id", { actor: { type: "user", id: "" } }],
        ["reason", { reason: "no action" }]
      ]
      for (const [field, options] of wrong) {
        expect(() => Audit.define(options), field).toThrow(expect.objectContaining({ field }))
      }
    })
  )

  it.effect("says InvalidContext of what only a call can tell, and leaves refusals of the body alone", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const asUser = AuditContext.withActor(Actor.user("42"))
      const ambient = yield* Effect.flip(
        created.withTransaction(insert(1)).pipe(AuditContext.withActor({ type: "user", id: "x".repeat(300) }))
      )
      expect(said(ambient)).toMatch(/^InvalidContext actor\.id: must not exceed 256 bytes/)
      const subject = yield* Effect.flip(created.withTransaction(insert(0)).pipe(asUser))
      expect(said(subject)).toMatch(/^InvalidContext action\.subject\.id: /)
      const own = new InvalidRequest({ field: "title", rule: "must be short" })
      expect(said(yield* Effect.flip(created.withTransaction(Effect.fail(own)).pipe(asUser)))).toBe(
        "title: must be short"
      )
      const nested = Audit.withTransaction(Host.insertPost(3), { action: "" }).pipe(Effect.as(3))
      expect(said(yield* Effect.flip(created.withTransaction(nested).pipe(asUser)))).toMatch(/^action\.name: /)
      expect(yield* Host.postIds).toEqual([])
    })
  )
})

layer(Host.layer, { excludeTestServices: true })("Audit.withTags", (it) => {
  it.effect("tells failures apart by tag and class, without their causes", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const asUser = AuditContext.withActor(Actor.user("42"))
      const none = yield* created.withTransaction(Effect.succeed(1)).pipe(asUser, Audit.withTags, Effect.flip)
      expect(none).toBeInstanceOf(Audit.NoChanges)
      expect(none).toMatchObject({ _tag: "threadline/NoChanges" })
      for (const reason of ["Unreachable", "ConnectionLost", "OutcomeUnknown"] as const) {
        const error = new Audit.AuditError({ reason, detail: "d", cause: new Error("secret") })
        const tagged = yield* Effect.fail(error).pipe(Audit.withTags, Effect.flip)
        expect(tagged).toBeInstanceOf(Audit.Unavailable)
        expect(JSON.parse(JSON.stringify(tagged))).toEqual({ _tag: "threadline/Unavailable", reason, detail: "d" })
      }
      const others = [new Audit.AuditError({ reason: "MissingActor", detail: "d" }), new Error("the host's")]
      for (const error of others) {
        expect(yield* Effect.fail(error).pipe(Audit.withTags, Effect.flip)).toBe(error)
      }
    })
  )

  it.effect("gives an HttpApi its statuses", () =>
    Effect.sync(() => {
      const api = HttpApi.make("api").add(
        HttpApiGroup.make("posts").add(
          HttpApiEndpoint.del("archive", "/posts").addError(Audit.NoChanges).addError(Audit.Unavailable)
        )
      )
      const responses = OpenApi.fromApi(api).paths["/posts"]?.delete?.responses
      expect(Object.keys(responses ?? {})).toEqual(expect.arrayContaining(["404", "503"]))
    })
  )
})
