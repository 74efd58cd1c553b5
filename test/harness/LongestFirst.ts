import { existsSync, readFileSync, statSync } from "node:fs"
import { join, relative } from "node:path"
import { BaseSequencer, type TestSpecification } from "vitest/node"

const recorded = join(import.meta.dirname, "durations.json")

/** Seconds that test files took when somebody last recorded them, with `npm run test:durations`. */
const seconds: Readonly<Record<string, number>> = existsSync(recorded) ? JSON.parse(readFileSync(recorded, "utf8")) : {}

/**
 * Runs the longest test file first, so that no long one begins when the others are done. A file that nobody has timed counts by
 * its size, as the default does.
 */
export class LongestFirst extends BaseSequencer {
  override sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const { root } = this.ctx.config
    const duration = ({ moduleId }: TestSpecification) =>
      seconds[relative(root, moduleId)] ?? statSync(moduleId).size / 2000
    return Promise.resolve([...files].sort((a, b) => duration(b) - duration(a)))
  }
}
