/**
 * What the compiler says of the examples in README.md, docs and docstrings, and which docstrings public modules lack.
 *
 *     npx tsx scripts/check-docs.ts
 */
import { join } from "node:path"
import ts from "typescript"
import { publicModules, undocumented } from "./documentedExports.js"
import { examples, problemsOf, withExamples } from "./examples.js"

const root = join(import.meta.dirname, "..")

const { errors, options } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(root, "tsconfig.json"), (path) => ts.sys.readFile(path)).config,
  ts.sys,
  root
)
const program = ts.createProgram({
  rootNames: [...publicModules, ...examples.map(({ path }) => path)],
  options,
  configFileParsingDiagnostics: errors,
  host: withExamples(ts.createCompilerHost(options))
})

const problems = [...examples.flatMap((example) => problemsOf(program, example)), ...undocumented(program)]
for (const problem of problems) {
  console.error(problem)
}
console.log(`${examples.length} examples and ${publicModules.length} public modules, ${problems.length} problems`)
if (problems.length > 0 || examples.length === 0 || publicModules.length === 0) {
  process.exitCode = 1
}
