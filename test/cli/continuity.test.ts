import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Cli from "../support/cli.js"
import * as CliProcess from "../support/cliProcess.js"
import { until } from "../support/until.js"

Cli.setup()

const host = Cli.makeHost(`
  create table posts (id bigint primary key, title text);
  create table bare (v text);
  insert into posts select n, 'title' from generate_series(1, 40) n`)

describe("threadline continuity", () => {
  it.scoped("says what can be asked, and records what is not known", () =>
    Effect.gen(function* () {
      const { url } = yield* host
      yield* Cli.text(["capture", "apply", "--table", "posts", "--table", "bare"], { url })
      expect(yield* Cli.text(["continuity", "check"], { url })).toMatch(
        /^public\.posts +changes +\d{4}-.*\n +changed rows +\d{4}-.*\n +unchanged rows +there is no baseline$/m
      )
      expect(yield* Cli.run(["continuity", "check", "--strict", "--table", "posts"], { url })).toMatchObject({
        code: 1
      })
      expect(yield* Cli.json(["continuity", "check", "--table", "posts"], { url })).toMatchObject({
        tables: [
          {
            table: "public.posts",
            captured: true,
            baseline: null,
            answers: [{ question: "changes", why: null }, { why: null }, { from: null, why: "no baseline" }]
          }
        ]
      })
      const lines: Array<string> = []
      expect(JSON.parse((yield* Cli.run(["continuity", "baseline", "--json"], { url, status: lines })).stdout)).toEqual(
        { tables: [{ table: "public.posts", state: "done", recorded: 40 }] }
      )
      expect(lines).toContain("public.posts: 100 %, 40 rows")
      expect(yield* Cli.run(["continuity", "check", "--strict", "--table", "posts"], { url })).toMatchObject({
        code: 0
      })
      expect(yield* Cli.json(["as-of", "posts", "7", "2100-01-01T00:00:00Z"], { url })).toMatchObject({
        answer: "Present"
      })
      expect(yield* Cli.run(["continuity", "baseline", "--table", "bare"], { url })).toEqual(Cli.refusal(1, /no key/))
      expect(yield* Cli.run(["continuity", "baseline", "--batch-size", "0"], { url })).toEqual(
        Cli.refusal(2, /--batch-size/)
      )
      expect(yield* Cli.run(["continuity", "check", "--table", "a..b"], { url })).toEqual(Cli.refusal(2, /--table/))
    })
  )

  it.scoped("records what is not known also as a part of capture apply, with --baseline", () =>
    Effect.gen(function* () {
      const { url } = yield* host
      expect(yield* Cli.json(["capture", "apply", "--table", "posts", "--baseline"], { url })).toMatchObject({
        steps: [{ kind: "attach" }],
        baselines: [{ table: "public.posts", state: "done", recorded: 40 }]
      })
      expect(yield* Cli.text(["capture", "apply", "--table", "posts", "--baseline"], { url })).toMatch(
        /^There was nothing to do\.\n\n.*\npublic\.posts +done +0/
      )
    })
  )

  it.scopedLive("keeps what is recorded if the process of a baseline is killed, and records the rest once", () =>
    Effect.gen(function* () {
      const { database, query, url } = yield* Cli.makeHost(
        `create table posts (id int primary key, v text);
         insert into posts select n, repeat('x', 200) from generate_series(1, 3000) n`,
        "posts"
      )
      const recorded = Effect.map(
        query("select count(*)::int as n from threadline.audit_changes where op = 'baseline'"),
        ([row]) => Number(row?.n)
      )
      const baseline = ["continuity", "baseline", "--table", "posts", "--batch-size", "10"]
      // A writer has a row, so that no call comes to its end before it is killed.
      const writer = yield* database.rawClient()
      yield* Effect.promise(() => writer.query("begin; select from posts where id = 3000 for update"))
      let before = 0
      for (const point of [1, 300, 900]) {
        const child = yield* CliProcess.start(baseline, { DATABASE_URL: url })
        yield* until(
          `${point} rows are recorded`,
          Effect.map(recorded, (count) => count >= point)
        )
        child.kill("SIGKILL")
        yield* CliProcess.ended(child)
        // Its backend may still end the batch that it was at.
        yield* until(
          "only the writer is connected",
          Effect.map(
            query(
              "select count(*)::int as n from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
            ),
            ([row]) => row?.n === 1
          )
        )
        const [state] = yield* query("select state, recorded::int from threadline.capture_baselines")
        before = yield* recorded
        expect(state).toEqual({ state: "running", recorded: before })
        yield* query(`update posts set v = v || '.' where id in (${point}, ${2990 - point})`)
      }
      yield* Effect.promise(() => writer.query("rollback"))
      expect(before).toBeLessThan(3000)
      expect(yield* Cli.json(baseline, { url })).toMatchObject({ tables: [{ table: "public.posts", state: "done" }] })
      const [counts] = yield* query(
        `select count(*)::int as n, count(distinct row_key)::int as keys from threadline.audit_changes where op = 'baseline'`
      )
      expect(counts.n).toBe(counts.keys)
      // Each row is known, as it stands.
      expect(
        yield* query(
          `select p.id from posts p left join lateral (
             select c.data_after from threadline.audit_changes c where c.row_key = p.id::text order by c.id desc limit 1
           ) last on true
           where last.data_after is distinct from to_jsonb(p)`
        )
      ).toEqual([])
      expect(
        yield* query(
          `select id from threadline.audit_changes c
           where not exists (select from threadline.audit_transactions t where t.id = c.transaction_id)`
        )
      ).toEqual([])
    })
  )
})
