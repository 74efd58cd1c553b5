import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Cli from "../support/cli.js"

Cli.setup()

const host = Cli.makeHost(`
  create table posts (id bigint primary key, title text);
  create table bare (v text);
  insert into posts select n, 'title' from generate_series(1, 40) n`)

describe("continuity", () => {
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

  it.scoped("does both with capture apply --baseline", () =>
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
})
