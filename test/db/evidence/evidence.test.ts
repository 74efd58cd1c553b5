/** Evidence: what is accepted, who the server says it was, what counts as a verdict, and the proof. */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { sqlState } from "../../../src/internal/sql/sqlState.js"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as AuditContext from "../../../src/AuditContext.js"
import * as Capture from "../../../src/Capture.js"
import * as Evidence from "../../../src/Evidence.js"
import * as Export from "../../../src/Export.js"
import * as Grants from "../../../src/Grants.js"
import * as Health from "../../../src/Health.js"
import * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import * as Retention from "../../../src/Retention.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import * as Stream from "effect/Stream"

const services = Layer.mergeAll(
  Audit.layer,
  Capture.layer,
  Evidence.layer,
  Export.layer,
  Health.layer,
  Query.layer,
  Retention.layer
).pipe(Layer.provideMerge(TestDatabase.layer))

const refused = <A, E extends { readonly message: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.either(effect), (outcome) => (Either.isLeft(outcome) ? outcome.left.message : "accepted"))

const delivery = { format: "csv", count: 3, bytes: 100, sha256: "ab" }

layer(services, { excludeTestServices: true, timeout: 300_000 })("Evidence", (it) => {
  it.effect("is what the host says and what the server saw, in pages and by reference", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.TestDatabase
      const role = yield* database.role("operator")
      yield* Grants.apply({ operators: [role.name] })
      const client = yield* database.connect("operator", { applicationName: "auditor" })
      const asOperator = Effect.provide(Layer.provide(Evidence.layer, Layer.succeed(SqlClient.SqlClient, client)))
      const recorded = yield* Evidence.record("export_delivery", {
        reference: "q3",
        status: "ok",
        detail: { ...delivery, recipient: "a <b>" },
        actor: Actor.user("42", { label: "desk" })
      }).pipe(asOperator)
      expect(recorded).toMatchObject({
        subject: "export_delivery",
        reference: "q3",
        origin: "host",
        detailVersion: 1,
        actor: { type: "user", id: "42", label: "desk" },
        dbUser: role.name,
        role: role.name,
        applicationName: "auditor"
      })
      for (let i = 0; i < 4; i++) {
        yield* Evidence.exportDelivery({ reference: "q3", status: "failed", detail: delivery }).pipe(asOperator)
      }
      const first = yield* Evidence.history("export_delivery", "q3", { limit: 3 })
      expect([first.items.length, first.hasMore]).toEqual([3, true])
      const rest = yield* Evidence.history("export_delivery", "q3", {
        limit: 3,
        cursor: Option.getOrThrow(first.nextCursor)
      })
      expect(rest.items.map(({ id }) => id)).toContain(recorded.id)
      expect(Option.getOrThrow(yield* Evidence.latest("export_delivery", "q3")).status).toBe("failed")
      expect(Option.isNone(yield* Evidence.latest("export_delivery", "q4"))).toBe(true)
      expect((yield* Evidence.list({ status: "ok", origin: "host" })).items.map(({ id }) => id)).toEqual([recorded.id])
      // Provenance is not an input, and who recorded it is what the server saw.
      const forged = JSON.stringify({
        subject: "export_delivery",
        reference: "q3",
        status: "ok",
        detail: delivery,
        detailVersion: 1,
        origin: "host",
        recordedAt: "2020-01-01T00:00:00Z",
        recorded_at: "2020-01-01T00:00:00Z",
        db_user: "postgres",
        dbUser: "postgres"
      })
      yield* client`select threadline.record_evidence(${forged}::jsonb)`
      const [last] = (yield* Evidence.list({ limit: 1 })).items
      expect(last?.dbUser).toBe(role.name)
      expect(last?.recordedAt.startsWith("2020")).toBe(false)
    }).pipe(Effect.scoped)
  )

  it.effect("refuses what no schema knows", () =>
    Effect.gen(function* () {
      const before = yield* Evidence.list({ limit: 1 })
      const given = { reference: "r", status: "ok", detail: delivery }
      for (const [subject, evidence, message] of [
        ["export_deliver", given, "subject: must be one of redaction_policy"],
        ["export_delivery", { ...given, reference: "" }, "reference: must not be empty"],
        ["export_delivery", { ...given, reference: "x".repeat(257) }, "reference: must not exceed 256 bytes"],
        ["export_delivery", { ...given, status: "fine" }, "status: must be ok, attention or failed"],
        ["export_delivery", { ...given, detail: { ...delivery, count: -1 } }, "detail.count: must be a whole number"],
        ["export_delivery", { ...given, detail: { ...delivery, extra: 1 } }, "detail.extra: is not known here"],
        ["export_delivery", { ...given, detail: { format: "csv" } }, "detail.count: is missing"],
        ["export_delivery", { ...given, detail: 3 }, "detail"],
        ["export_delivery", { ...given, origin: "derived" }, "origin: is not known here"],
        ["export_delivery", { ...given, actor: { type: "robot" } }, "actor: must be an actor"],
        ["export_delivery", { ...given, actor: null }, "actor: must be an actor"],
        ["retention_run", { ...given, detail: { run: "x" } }, "detail."]
      ] as const) {
        expect(yield* refused(Evidence.record(subject as never, evidence as never)), message).toContain(message)
      }
      expect(yield* refused(Evidence.latest("nothing" as never, "r"))).toContain("subject")
      expect(yield* refused(Evidence.history("retention_run", ""))).toContain("reference")
      expect(yield* refused(Evidence.list({ cursor: "x" }))).toContain("cursor")
      expect(yield* refused(Evidence.derive("trigger_coverage", { reference: "" }))).toContain("reference")
      expect(yield* refused(Evidence.derive("retention_run", { reference: "r", run: "7" }))).toBe(
        "run 7 is not known here"
      )
      expect(yield* refused(Evidence.derive("export_delivery", { reference: "r" }))).toContain("no export was recorded")
      const period = { from: "2026-01-01", to: "2026-02-01" }
      for (const [asked, message] of [
        [Evidence.list({ from: period.to, to: period.from }), "to: must not be before"],
        [Evidence.proof({ ...period, looked: [] } as never), "looked: is not known here"],
        [Evidence.proof({ ...period, lookedActions: "report.viewed" as never }), "lookedActions: must be a list"],
        [Evidence.proof({ ...period, lookedActions: null as never }), "lookedActions: must be a list"],
        [Evidence.proof(new Map(Object.entries(period)) as never), "options: must be an object"],
        [Evidence.derive("retention_run", { reference: "r", runs: "7" } as never), "runs: is not known here"],
        [Evidence.derive("retention_run", { reference: "r", run: 7 as never }), "run: must be an id"],
        [Evidence.derive("export_delivery", { reference: "r", action: "first" }), "action: must be an id"],
        [Evidence.derive("trigger_coverage", { reference: "r", run: "7" }), "run: is only for retention_run"],
        [Evidence.derive("retention_run", { reference: "r", action: "7" }), "action: is only for export_delivery"]
      ] as const) {
        expect(yield* refused<unknown, { readonly message: string }, Evidence.Sources>(asked), message).toContain(
          message
        )
      }
      expect(yield* refused(Evidence.proof({ from: "2026-02-01", to: "2026-01-01" }))).toContain(
        "to: must not be before"
      )
      expect(yield* Evidence.list({ limit: 1 })).toEqual(before)
    })
  )

  it.effect(
    "asks in the database for every field that its schema requires, and for what the record says if it is derived",
    () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const at = "2026-01-01T00:00:00.000000Z"
        const run = yield* sql<{ id: string }>`
        insert into threadline.retention_runs (kind, state, changes, lease_token, lease_until)
        values ('purge', 'failed', 3, 'x', now())
        returning id::text`
        const ran = { run: run[0]?.id ?? "", kind: "purge", startedAt: at, finishedAt: null, cutoff: null } as const
        const complete: { readonly [S in Evidence.Subject]: Evidence.Details[S] } = {
          redaction_policy: { tables: [] },
          trigger_coverage: { tables: [] },
          retention_run: { ...ran, state: "failed", changes: 3, transactions: 0, actions: 0 },
          retention_policy: { configured: false, policy: null },
          export_delivery: delivery,
          support_scope_posture: { readers: [], writers: [], changers: [] }
        }
        const record = (subject: string, detail: object, extra: object = {}) =>
          Effect.match(
            sql`select threadline.record_evidence(${JSON.stringify({
              subject,
              reference: "sql",
              status: "failed",
              detail,
              detailVersion: 1,
              origin: "host",
              ...extra
            })}::jsonb)`,
            { onSuccess: () => "added", onFailure: (error) => sqlState(error) ?? "" }
          )
        for (const subject of Evidence.subjects) {
          const detail = complete[subject]
          expect([subject, yield* record(subject, detail)]).toEqual([subject, "added"])
          for (const field of Object.keys(detail)) {
            const { [field]: _, ...without } = detail as { readonly [field: string]: unknown }
            expect([subject, field, yield* record(subject, without)]).toEqual([subject, field, "22023"])
            expect([subject, field, yield* record(subject, { ...detail, [field]: { not: "so" } })]).toEqual([
              subject,
              field,
              field === "policy" ? "added" : "22023"
            ])
            // The library requires the same.
            expect(
              yield* refused(Evidence.record(subject, { reference: "r", status: "ok", detail: without as never })),
              field
            ).toContain(`detail.${field}: is missing`)
          }
          for (const extra of [{ detailVersion: 2 }, { detailVersion: "1" }, { detail: [] }, { detail: null }]) {
            expect(yield* record(subject, detail, extra)).toBe("22023")
          }
        }
        const derived = { origin: "derived" }
        const { retention_run } = complete
        expect(yield* record("retention_run", retention_run, derived)).toBe("added")
        for (const [detail, extra] of [
          [{ ...retention_run, changes: 4 }, {}],
          [{ ...retention_run, state: "completed" }, {}],
          [{ ...retention_run, run: "999" }, {}],
          [retention_run, { status: "ok" }]
        ] as const) {
          expect(yield* record("retention_run", detail, { ...derived, ...extra })).toBe("22023")
        }
        expect(yield* record("export_delivery", { ...delivery, action: "999" }, derived)).toBe("22023")
        yield* sql`delete from threadline.retention_runs`
        yield* sql`delete from threadline.evidence_records where reference = 'sql'`
      })
  )

  it.effect("derives all six subjects, and only that is a verdict", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table people (id int primary key, name text, password text, settings jsonb)`
      yield* Capture.apply([
        {
          table: "people",
          exclude: ["password", "settings.auth.token"],
          mask: ["name", { column: "settings", path: ["pin"], as: "last4" }]
        }
      ])
      yield* sql`insert into people values (1, '</td><script>alert(1)</script>', 'secret')`
      yield* Stream.runDrain(
        Export.stream({ format: "csv", filter: { table: "people" }, requestedBy: Actor.user("<script>") })
      )
      const policy = { keep: "365 days" } as const
      yield* Retention.purge(yield* Retention.plan(policy))
      yield* Evidence.triggerCoverage({
        reference: "production",
        status: "ok",
        detail: { tables: [{ table: "x", status: "covered" }] }
      })
      const unproven = yield* Evidence.overview
      expect(unproven).toHaveLength(6)
      expect(unproven.find(({ subject }) => subject === "trigger_coverage")).toMatchObject({
        verdict: "unproven",
        records: 1,
        latestByHost: { status: "ok" }
      })
      for (const subject of Evidence.subjects) {
        const derived = yield* Evidence.derive(subject, {
          reference: "production",
          policy,
          health: { expected: ["people", "nowhere"] }
        })
        expect(derived).toMatchObject({ subject, origin: "derived" })
      }
      const standing = yield* Evidence.overview
      const of = (subject: Evidence.Subject) => standing.find((one) => one.subject === subject)
      expect(of("trigger_coverage")?.verdict).toBe("failed")
      expect(of("retention_policy")?.latestDerived?.detail).toMatchObject({
        configured: true,
        policy: { keep: "365 days" }
      })
      expect(of("redaction_policy")?.latestDerived?.detail).toEqual({
        tables: [
          {
            table: "public.people",
            excluded: ["password", "settings.auth.token"],
            masked: ["name", "settings.pin"]
          }
        ]
      })
      expect(of("export_delivery")?.latestDerived?.detail).toMatchObject({ format: "csv", count: 1 })
      expect(of("retention_run")?.verdict).toBe("ok")
      expect(of("support_scope_posture")?.latestDerived?.detail).toMatchObject({ rowSecurity: false })

      const proof = yield* Evidence.proof({ from: "2026-01-01", to: "2999-01-01" })
      expect(Schema.is(Evidence.Proof)(proof)).toBe(true)
      expect(proof.retentionRuns).toHaveLength(1)
      expect(proof.looked.map(({ actor, name }) => [name, actor?.type])).toEqual([["export.completed", "user"]])
      expect(proof.coverage.map(({ status, table }) => [table, status])).toEqual([["public.people", "covered"]])
      expect(proof.redaction).toEqual(of("redaction_policy")?.latestDerived?.detail["tables"])
      expect(proof.incomplete).toEqual([])
      const page = Evidence.toHtml(proof)
      expect(page).not.toMatch(/<script/i)
      // What it cannot say of a past period stands in both documents.
      expect(proof.notes.join(" ")).toContain("not of the period")
      expect(proof.notes.every((note) => page.includes(note))).toBe(true)
      expect(page).toContain("user &lt;script&gt;")
      expect(page).toContain(`evidence ${proof.evidence[0]?.id ?? ""}`)
      expect(Json.stringify(proof)).not.toContain("secret")
    })
  )

  it.effect("finds who can read and change the record, however little of it and by whichever role", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.TestDatabase
      const sql = yield* SqlClient.SqlClient
      const names = ["whole", "column", "action", "evidence", "becomes", "group"] as const
      const [whole, column, action, evidence, becomes, group] = yield* Effect.forEach(names, (name) =>
        Effect.map(database.role(name), (role) => role.name)
      )
      const grants = (verb: "grant" | "revoke", at: "to" | "from") =>
        Effect.forEach(
          [
            `select on threadline.audit_changes ${at} ${whole}`,
            `update (data_after) on threadline.audit_changes ${at} ${column}`,
            `delete on threadline.audit_actions ${at} ${action}`,
            `update on threadline.evidence_records ${at} ${evidence}`,
            `select (db_user), truncate on threadline.audit_transactions ${at} ${group}`,
            `${group} ${at} ${becomes}`
          ],
          (grant) => sql.unsafe(`${verb} ${grant}`)
        )
      // Before PostgreSQL 16 these are the roles with CREATEROLE, too, that other tests have made on this server.
      const list = Schema.decodeUnknownSync(Schema.Array(Schema.String))
      const own = (roles: ReadonlyArray<string>) => roles.filter((name) => name.startsWith(database.name))
      const look = Effect.map(
        Evidence.derive("support_scope_posture", { reference: "production" }),
        ({ detail, status }) => {
          const changers = list(detail["changers"])
          return [changers.length === 0 ? "ok" : "attention", status, detail["readers"], own(changers)] as const
        }
      )
      yield* sql.unsafe(`alter role ${becomes} noinherit`)
      yield* sql.unsafe(`grant usage on schema threadline to ${[whole, becomes, group].join(", ")}`)
      yield* grants("grant", "to")
      const [expected, status, readers, changers] = yield* look
      expect([expected, status]).toEqual(["attention", "attention"])
      expect(readers).toEqual(expect.arrayContaining([whole, becomes, group]))
      expect(changers).toEqual([column, action, evidence, becomes, group].sort())
      yield* grants("revoke", "from")
      const [expectedNow, ...now] = yield* look
      expect(now).toMatchObject([expectedNow, expect.not.arrayContaining([whole, becomes, group]), []])
      const creates = yield* database.role("creates", "createrole")
      yield* sql.unsafe(`grant ${creates.name} to ${group}`)
      // It can make itself a member of the owner there, and so can whoever may become it.
      expect((yield* look)[3]).toEqual(TestDatabase.serverVersion < 16 ? [creates.name, group].sort() : [])
    }).pipe(Effect.scoped)
  )

  it.effect("is changed by the owner of the record alone, whatever else a role may do", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.TestDatabase
      const roles = {
        operator: yield* database.role("operator"),
        reader: yield* database.role("reader"),
        writer: yield* database.role("writer"),
        capturer: yield* database.role("capturer")
      }
      yield* Grants.apply({
        operators: [roles.operator.name],
        readers: [roles.reader.name],
        writers: [roles.writer.name]
      })
      const sql = yield* SqlClient.SqlClient
      yield* sql.unsafe(`grant create on schema public to ${roles.capturer.name}`)
      const capturer = yield* database.connect("capturer")
      yield* capturer`create table captured (id int primary key)`
      yield* Capture.apply([{ table: "captured" }])
      const count = sql<{ n: number }>`select count(*)::int as n from threadline.evidence_records where status = 'ok'`
      const [before] = yield* count
      const others = {
        operator: yield* database.connect("operator"),
        reader: yield* database.connect("reader"),
        writer: yield* database.connect("writer"),
        capturer
      }
      const given = JSON.stringify({
        subject: "export_delivery",
        reference: "r",
        status: "ok",
        detail: delivery,
        detailVersion: 1,
        origin: "derived"
      })
      for (const [name, connection] of Object.entries(others)) {
        for (const statement of [
          "insert into threadline.evidence_records overriding system value select * from threadline.evidence_records",
          "update threadline.evidence_records set status = 'ok'",
          "delete from threadline.evidence_records",
          "truncate threadline.evidence_records",
          "drop table threadline.evidence_records",
          "alter table threadline.evidence_records add column x int",
          "select * from threadline.evidence_records for update",
          ...(name === "operator" ? [] : [`select threadline.record_evidence('${given}')`])
        ]) {
          const said = yield* Effect.flip(connection.unsafe(statement))
          expect([name, statement, sqlState(said)]).toEqual([name, statement, "42501"])
        }
      }
      expect(yield* count).toEqual([before])
      // The owner alone may.
      const [owner] = yield* sql<{ name: string }>`
        select pg_get_userbyid(nspowner)::text as name from pg_namespace where nspname = 'threadline'`
      const owned = (statement: string) =>
        sql.withTransaction(
          Effect.zipRight(
            sql.unsafe(`set local role ${owner?.name ?? ""}`),
            Effect.zipRight(sql.unsafe(statement), Effect.fail("taken back" as const))
          )
        )
      for (const statement of [
        "update threadline.evidence_records set status = 'ok'",
        "delete from threadline.evidence_records",
        "truncate threadline.evidence_records"
      ]) {
        expect([statement, yield* Effect.flip(owned(statement))]).toEqual([statement, "taken back"])
      }
    }).pipe(Effect.scoped)
  )

  it.effect("refuses a detail that no database can hold before it walks it", () =>
    Effect.gen(function* () {
      const cycle: Record<string, unknown> = {}
      cycle["self"] = cycle
      const policy = (value: unknown) =>
        refused(
          Evidence.recordUnknown("retention_policy", {
            reference: "x",
            status: "ok",
            detail: { configured: true, policy: value }
          })
        )
      expect(yield* policy(cycle)).toBe("detail: must be a JSON value")
      for (const text of ["\0", "\ud800"]) {
        expect(yield* policy({ note: text })).toBe("detail: must not hold a NUL or half of a surrogate pair")
      }
    })
  )

  it.effect(
    "names in its proof tables that are not captured any more, who acted for whom, and what retention removed",
    () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table public.left_out (id int primary key)`
        yield* Capture.apply([{ table: "left_out" }])
        yield* Capture.remove(["left_out"])
        const boss = Actor.user("1", { label: "boss" })
        yield* Audit.record({ name: "report.viewed" }).pipe(
          AuditContext.withActor(Actor.user("42", { label: "desk", impersonator: boss }))
        )
        yield* sql`
        insert into threadline.retention_runs (kind, policy, actions, started_at, finished_at, state, lease_token, lease_until)
        values ('purge', '{"keep": "1 day"}', 7, '2998-01-01', '2998-01-01', 'completed', ${"x".repeat(16)}, '2998-01-01')`
        const options = { from: "2026-01-01", to: "2997-01-01", lookedActions: ["report.viewed"] }
        const proof = yield* Evidence.proof(options)
        const left = proof.coverage.find(({ table }) => table === "public.left_out")
        expect(left).toMatchObject({ status: "uncovered", lapses: [{ until: null }] })
        expect(proof.incomplete).toEqual([
          expect.stringMatching(/^exports and who looked: retention run [0-9]+ removed actions, .* up to 2997-12-31/)
        ])
        expect(proof.retentionRuns.every(({ startedAt }) => startedAt < "2998")).toBe(true)
        expect(Evidence.toHtml(proof)).toContain("user 42 (desk) by user 1 (boss)")
        const derived = yield* Evidence.derive("trigger_coverage", { reference: "after" })
        expect(derived.status).toBe("attention")
        yield* sql`delete from threadline.retention_runs where started_at > '2997-01-01'`
      })
  )

  it.effect("says of a proof that was made under a scope that its list of exports need not be whole", () =>
    Effect.gen(function* () {
      yield* Stream.runDrain(Export.stream({ format: "csv" }))
      const proof = Evidence.proof({ from: "2026-01-01", to: "2997-01-01" })
      const restricted = "exports and who looked: only those that the scope of the reader shows"
      expect((yield* proof).incomplete).not.toContain(restricted)
      const scoped = yield* proof.pipe(Query.withScope((...[surface]) => surface === "changes"))
      expect(scoped.looked).toEqual([])
      expect(scoped.incomplete).toContain(restricted)
      const all = yield* proof.pipe(Query.withScope(() => true))
      expect(all.looked).toEqual((yield* proof).looked)
      expect(all.incomplete).not.toContain(restricted)
    })
  )
})
