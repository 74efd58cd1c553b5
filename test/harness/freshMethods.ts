/**
 * Gives `it` its own methods again before each test file. Test files of one process share `it`, and `it.layer` of `@effect/vitest`
 * overwrites `effect`, `scoped` and `layer` there: a file would begin with the services of a suite that ended in another file.
 */
import { it, makeMethods } from "@effect/vitest"

makeMethods(it)
