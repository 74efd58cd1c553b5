import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestDatabase } from "../../harness/TestDatabase.js"
import * as Host from "../../support/auditedHost.js"

/** Writes a post under a context given as text, in one transaction of node-postgres. */
const writeUnder = (document: string, settings: ReadonlyArray<string> = []) =>
  Effect.gen(function* () {
    yield* Host.reset
    const client = yield* (yield* TestDatabase).rawClient("app")
    return yield* Effect.promise(async () => {
      for (const setting of settings) {
        await client.query(setting)
      }
      try {
        await client.query("begin")
        await client.query("select threadline.set_context($1::text::jsonb)", [document])
        await client.query("insert into posts (id, title) values (1, 'x')")
        await client.query("commit")
        return undefined
      } catch (error) {
        await client.query("rollback")
        return error
      }
    })
  }).pipe(Effect.scoped)

const recorded = Effect.map(Host.transactions, ([row]) => row)

layer(Host.layer, { excludeTestServices: true })("the document of set_context", (it) => {
  it.effect("may say ids that are integers", () =>
    Effect.gen(function* () {
      for (const [given, id] of [
        ["42", "42"],
        ["-1", "-1"],
        ["0", "0"],
        ["9007199254740993", "9007199254740993"]
      ] as const) {
        yield* writeUnder(
          `{"actor":{"type":"user","id":${given},"label":null,"impersonator":{"type":"admin","id":${given}}}}`
        )
        expect(yield* recorded).toMatchObject({
          actor_type: "user",
          actor_id: id,
          actor: { type: "user", id, impersonator: { type: "admin", id } },
          context_error: null
        })
      }
    })
  )

  const long = "y".repeat(257)
  const types = "not user, admin, service_account, job, system or anonymous"
  const refusals: ReadonlyArray<readonly [document: string, error: string]> = [
    [`[]`, "context: not an object"],
    [`{"user":1}`, `context: has an unknown field "user"`],
    [`{"we\\"ird\\n":1}`, String.raw`context: has an unknown field "we\"ird\n"`],
    [`{"correlationId":1,"meta":[]}`, "correlationId: not a text of 1 to 256 bytes; meta: not an object"],
    [`{"remoteIp":"nowhere"}`, "remoteIp: not an address"],
    [`{"actor":"user:42"}`, "actor: not an object"],
    [`{"actorError":"the session expired"}`, "actor: the session expired"],
    [`{"actorError":""}`, "actor: not known"],
    [`{"actor":{"id":"42"}}`, `actor.type: ${types}`],
    [`{"actor":{"type":"customer","id":"42"}}`, `actor.type: ${types}`],
    [`{"actor":{"type":"user"}}`, "actor.id: missing"],
    [`{"actor":{"type":"user","id":null}}`, "actor.id: missing"],
    [`{"actor":{"type":"anonymous","id":"42"}}`, "actor.id: an anonymous actor has none"],
    ...["1.5", "1.0", "true", "{}", "[42]", `""`, `"${long}"`, "1e300"].map(
      (id) => [`{"actor":{"type":"user","id":${id}}}`, "actor.id: not a text of 1 to 256 bytes or an integer"] as const
    ),
    [`{"actor":{"type":"user","id":"1","label":5}}`, "actor.label: not a text of 1 to 256 bytes"],
    [`{"actor":{"type":"user","id":"1","email":"x"}}`, "actor: has a part that is not type, id, label or impersonator"],
    [`{"actor":{"type":"user","id":"1","impersonator":{"type":"staff","id":"2"}}}`, `actor.impersonator.type: ${types}`]
  ]

  it.effect("is recorded without what is wrong in it, and context_error names that part", () =>
    Effect.gen(function* () {
      for (const [document, error] of refusals) {
        expect(yield* writeUnder(document)).toBeUndefined()
        expect([document, (yield* recorded)?.["context_error"]]).toEqual([document, error])
      }
    })
  )

  it.effect("is refused by a database in strict mode, at the call, in the same words", () =>
    Effect.gen(function* () {
      for (const [document, error] of refusals) {
        expect(yield* writeUnder(document, ["set threadline.strict = on"])).toMatchObject({
          code: "TL005",
          message: `threadline: ${error}`
        })
      }
      expect(yield* recorded).toBeUndefined()
      expect(yield* writeUnder(`{"actor":{"type":"user","id":42}}`, ["set threadline.strict = on"])).toBeUndefined()
      expect(yield* recorded).toMatchObject({ actor_id: "42" })
    })
  )

  it.effect("is strict for a setting made by hand, and for the context of one action", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const client = yield* (yield* TestDatabase).rawClient("app")
      const refusal = (...statements: ReadonlyArray<string>) =>
        Effect.promise(async () => {
          try {
            for (const statement of statements) {
              await client.query(statement)
            }
            return undefined
          } catch (error) {
            return error
          } finally {
            await client.query("rollback")
          }
        })
      const begin = ["begin", "set local threadline.strict = true"]
      expect(
        yield* refusal(...begin, "set local threadline.context = '{}'", "insert into posts (id, title) values (1, 'x')")
      ).toMatchObject({ code: "TL005", message: "threadline: context: not set by set_context in this transaction" })
      expect(yield* refusal(...begin, `select threadline.record_action('{"name":"a"}', '{"actor":7}')`)).toMatchObject({
        code: "TL005",
        message: "threadline: actor: not an object"
      })
      // No context at all is not a wrong one, and what is no known value of the setting is no strict mode.
      expect(yield* refusal(...begin, "insert into posts (id, title) values (1, 'x')")).toBeUndefined()
      expect(
        yield* refusal("begin", "set local threadline.strict = off", `select threadline.set_context('{"actor":7}')`)
      ).toBeUndefined()
    }).pipe(Effect.scoped)
  )

  it.effect("leaves its trace on an action that captured nothing", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const client = yield* (yield* TestDatabase).rawClient("app")
      const owner = yield* Host.Owner
      yield* Effect.promise(async () => {
        await client.query(`select threadline.record_action('{"name":"own"}', '{"actor":7,"requestId":"r"}')`)
        await client.query("begin")
        await client.query(`select threadline.set_context('{"actor":{"type":"user","id":"1"},"jobId":5}')`)
        await client.query(`select threadline.finish('{"action":{"name":"ambient"}}')`)
        await client.query("commit")
        await client.query(`select threadline.record_action('{"name":"right"}', '{"actor":{"type":"user","id":"1"}}')`)
        await client.query(`select threadline.record_action('{"name":"none"}')`)
      })
      expect(
        yield* owner`
        select name, actor_id, request_id, context_error
        from threadline.audit_actions
        order by id
      `
      ).toEqual([
        { name: "own", actor_id: null, request_id: "r", context_error: "actor: not an object" },
        { name: "ambient", actor_id: "1", request_id: null, context_error: "jobId: not a text of 1 to 256 bytes" },
        { name: "right", actor_id: "1", request_id: null, context_error: null },
        { name: "none", actor_id: null, request_id: null, context_error: null }
      ])
    }).pipe(Effect.scoped)
  )

  it.effect("is recorded with an IPv4 address as such, if it came as a part of IPv6", () =>
    Effect.gen(function* () {
      const actor = `"actor":{"type":"user","id":"1"}`
      for (const [given, kept] of [
        ["::ffff:10.0.0.7", "10.0.0.7"],
        ["::FFFF:0a00:0007", "10.0.0.7"],
        ["::ffff:255.255.255.255", "255.255.255.255"],
        ["::ffff:0.0.0.0", "0.0.0.0"],
        ["10.0.0.7", "10.0.0.7"],
        ["::1", "::1"],
        ["::fffe:10.0.0.7", "::fffe:a00:7"]
      ] as const) {
        // An ordinary document is read as a whole, any other one part by part.
        for (const document of [`{${actor},"remoteIp":"${given}"}`, `{"jobId":1,"remoteIp":"${given}"}`]) {
          yield* writeUnder(document)
          expect([given, (yield* recorded)?.["remote_ip"]]).toEqual([given, kept])
        }
      }
    })
  )

  it.effect("is answered with a value that every client can read", () =>
    Effect.gen(function* () {
      const client = yield* (yield* TestDatabase).rawClient("app")
      yield* Effect.promise(async () => {
        await client.query("begin")
        expect((await client.query("select threadline.set_context('{}') as answer")).rows).toEqual([{ answer: true }])
        await client.query("savepoint part")
        expect((await client.query("select threadline.begin_part('{}') as answer")).rows).toEqual([{ answer: true }])
        await client.query("rollback")
      })
    }).pipe(Effect.scoped)
  )
})

layer(Host.layer, { excludeTestServices: true })("the document of an action, or of an end,", (it) => {
  it.effect("is refused if a part of it would be lost", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const client = yield* (yield* TestDatabase).rawClient("app")
      const refusal = (statement: string) =>
        Effect.promise(() =>
          client.query(statement).then(
            () => undefined,
            (error: unknown) => error
          )
        )
      const outcome = "threadline: finish takes a JSON object of action, requireChanges and part"
      const name = "threadline: an action needs a name of 1 to 256 bytes"
      for (const [statement, message] of [
        // What a client sends that encodes a document twice.
        [`select threadline.finish('"{\\"action\\":{\\"name\\":\\"x\\"}}"')`, outcome],
        [`select threadline.finish('[{"action":{"name":"x"}}]')`, outcome],
        [`select threadline.finish(null)`, outcome],
        [`select threadline.finish('{"actions":{"name":"x"}}')`, outcome],
        [`select threadline.finish('{"action":"x"}')`, name],
        [`select threadline.finish('{"action":[{"name":"x"}]}')`, name],
        [`select threadline.record_action('"x"')`, name],
        [
          `select threadline.record_action('{"name":"x","subjct":{}}')`,
          'threadline: an action has an unknown field "subjct"'
        ],
        [
          `select threadline.record_action('{"name":"x","subject":"invoice"}')`,
          "threadline: the subject of an action is an object with type and id, not string"
        ],
        ...[
          {},
          { type: "invoice" },
          { id: "1" },
          { type: "", id: "1" },
          { type: "invoice", id: "" },
          { type: "invoice", id: null },
          { type: "invoice", id: 1.5 },
          { type: "invoice", id: true },
          { type: { name: "invoice" }, id: "1" },
          { type: "invoice", id: "x".repeat(257) },
          { type: "é".repeat(129), id: "1" },
          { type: "invoice", id: "1", ident: "2" }
        ].map(
          (subject) =>
            [
              `select threadline.record_action('${JSON.stringify({ name: "x", subject })}')`,
              "threadline: the subject of an action has a type and an id of 1 to 256 bytes, and nothing else"
            ] as const
        ),
        ...["verb", "category"].flatMap((field) =>
          ["", "x".repeat(257), 1, ["pay"]].map(
            (value) =>
              [
                `select threadline.record_action('${JSON.stringify({ name: "x", [field]: value })}')`,
                "threadline: verb and category of an action are strings of 1 to 256 bytes"
              ] as const
          )
        ),
        ...["reason", "comment"].map(
          (field) =>
            [
              `select threadline.record_action('${JSON.stringify({ name: "x", [field]: { why: "y" } })}')`,
              "threadline: reason and comment of an action are strings"
            ] as const
        )
      ] as const) {
        expect(yield* refusal(statement)).toMatchObject({ code: "22023", message })
      }
      for (const statement of [
        `select threadline.finish('{"action":null,"requireChanges":null,"part":null}')`,
        `select threadline.record_action('{"name":"x","subject":null,"data":null,"status":null,"reason":null}')`,
        `select threadline.record_action('{"name":"y","subject":{"type":"invoice","id":-17},"verb":"${"v".repeat(256)}","comment":""}')`
      ]) {
        expect(yield* refusal(statement)).toBeUndefined()
      }
      expect(yield* Host.actions).toMatchObject([
        { name: "x", subject_id: null },
        { name: "y", subject_id: "-17" }
      ])
    }).pipe(Effect.scoped)
  )
})
