/** What sessions may begin with, set for a role: nothing that Threadline records or answers depends on it. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import pg from "pg"
import { answersUnder } from "../support/everySetting.js"
import { dependentLiterals } from "../support/sqlLiterals.js"

const literals = ["standard_conforming_strings = off", "escape_string_warning = off", "backslash_quote = off"]

const texts = [
  "quote_all_identifiers = on",
  "datestyle = 'SQL, DMY'",
  "intervalstyle = 'sql_standard'",
  "timezone = 'Asia/Kolkata'",
  "bytea_output = 'escape'",
  "extra_float_digits = -15",
  "xmloption = 'document'",
  "xmlbinary = 'hex'",
  "lc_monetary = 'C.UTF-8'",
  "lc_numeric = 'C.UTF-8'",
  "lc_time = 'C.UTF-8'"
]

const rules = [
  "transform_null_equals = on",
  "array_nulls = off",
  "plpgsql.variable_conflict = 'use_column'",
  "plpgsql.extra_errors = 'all'",
  "plpgsql.check_asserts = off",
  "check_function_bodies = off",
  "row_security = off",
  "gin_fuzzy_search_limit = 1",
  "default_transaction_deferrable = on",
  "search_path = public, pg_catalog"
]

const plans = [
  "plan_cache_mode = 'force_custom_plan'",
  "from_collapse_limit = 1",
  "join_collapse_limit = 1",
  "geqo_threshold = 2",
  "constraint_exclusion = on",
  "work_mem = '64kB'",
  "default_toast_compression = 'pglz'",
  ...[
    "seqscan",
    "indexscan",
    "indexonlyscan",
    "bitmapscan",
    "hashjoin",
    "mergejoin",
    "nestloop",
    "sort",
    "hashagg",
    "material",
    "memoize",
    "partition_pruning"
  ].map((way) => `enable_${way} = off`)
]

describe("settings that sessions begin with", () => {
  it.scopedLive(
    "change no record and no answer, from the installation to the purge, and no statement depends on them",
    () =>
      Effect.gen(function* () {
        const sent = new Set<string>()
        const query = Reflect.get(pg.Client.prototype, "query") as (...given: ReadonlyArray<unknown>) => unknown
        yield* Effect.acquireRelease(
          Effect.sync(() =>
            Reflect.set(pg.Client.prototype, "query", function (this: pg.Client, ...given: ReadonlyArray<unknown>) {
              const [first] = given
              sent.add(typeof first === "string" ? first : String(Reflect.get(Object(first) as object, "text")))
              return query.apply(this, [...given])
            })
          ),
          () => Effect.sync(() => Reflect.set(pg.Client.prototype, "query", query))
        )
        const answers = yield* answersUnder({})
        expect(answers.size).toBeGreaterThan(100)
        expect([...answers].filter(([, answer]) => answer.startsWith("failed: "))).toEqual([])
        expect([...sent].flatMap(dependentLiterals)).toEqual([])
        const all = [...literals, ...texts, ...rules, ...plans]
        expect(yield* answersUnder({ installing: all, writing: all, reading: all })).toEqual(answers)
        // Made under usual settings, written under others. What Threadline writes into its own tables is written in transactions that say so
        // themselves, while others read.
        expect(
          yield* answersUnder({
            writing: [...literals, ...texts, "plpgsql.variable_conflict = 'use_variable'"],
            reading: ["default_transaction_read_only = on", "default_transaction_isolation = 'serializable'"]
          })
        ).toEqual(answers)
      }),
    900_000
  )
})
