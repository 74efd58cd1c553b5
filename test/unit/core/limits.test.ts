import { expect, it } from "@effect/vitest"
import * as Limits from "../../../src/internal/core/limits.js"
import { all } from "../../../src/Migrations.js"

const text = all.map(({ sql }) => sql).join("\n")

/** Every number that the migrations have in a place. */
const inMigrations = (place: RegExp): ReadonlyArray<string> => [
  ...new Set([...text.matchAll(place)].map(([, value = ""]) => value))
]

for (const [limit, place, value] of [
  ["longest name", /octet_length\([^\n]*\) (?:not )?between (?:1|16) and (\d+)/g, Limits.longestName],
  ["longest name that a sentence states", /(?:text|name) of 1 to (\d+) bytes/g, Limits.longestName],
  ["longest key", /octet_length\(key\) <= (\d+)/g, Limits.longestKey],
  ["deepest impersonator", /depth < (\d+)/g, Limits.deepestImpersonator],
  ["deepest impersonator that a sentence states", /nests more than (\d+) deep/g, Limits.deepestImpersonator],
  ["longest saved filter", /octet_length\(filter\) <= (\d+)/g, Limits.longestSavedFilter],
  ["longest lease", /(?:seconds not between 0 and|greatest\(seconds, 0\),) (\d+)/g, Limits.longestLease],
  [
    "instant that a change may have",
    /captured_at >= (?:\w+\.occurred_at|transaction_timestamp\(\)) - interval '([^']+)'/g,
    Limits.captureMayPrecede
  ]
] as const) {
  it(`the database has the same ${limit}`, () => {
    expect(inMigrations(place)).toEqual([String(value)])
  })
}
