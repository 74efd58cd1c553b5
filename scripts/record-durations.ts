/**
 * Writes how long each test file takes, by a JSON report of vitest, to where `LongestFirst` reads it. Files of other runs stay.
 *
 *     npx vitest run --reporter=json --outputFile=report.json; npx tsx scripts/record-durations.ts report.json
 */
import * as Schema from "effect/Schema"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join, relative } from "node:path"

const root = join(import.meta.dirname, "..")
const durations = join(root, "test", "harness", "durations.json")

const Report = Schema.parseJson(
  Schema.Struct({
    testResults: Schema.Array(Schema.Struct({ name: Schema.String, startTime: Schema.Number, endTime: Schema.Number }))
  })
)
const Durations = Schema.parseJson(Schema.Record({ key: Schema.String, value: Schema.Number }))

const known = existsSync(durations) ? Schema.decodeSync(Durations)(readFileSync(durations, "utf8")) : {}
const seen = process.argv.slice(2).flatMap((file) => Schema.decodeSync(Report)(readFileSync(file, "utf8")).testResults)
const seconds = {
  ...known,
  ...Object.fromEntries(
    seen.map(({ endTime, name, startTime }) => [relative(root, name), Math.ceil((endTime - startTime) / 1000)])
  )
}
const there = Object.entries(seconds).filter(([name]) => existsSync(join(root, name)))
writeFileSync(durations, `${JSON.stringify(Object.fromEntries(there.sort(([a], [b]) => (a < b ? -1 : 1))), null, 2)}\n`)
console.log(`${there.length} files, ${there.reduce((sum, [, value]) => sum + value, 0)} seconds`)
