/**
 * What the compiler and the linter say of all code, and of the examples in its documentation. It is one program, loaded and checked
 * once: `npm run typecheck`, `lint` and `docs:check` say the same, each of a program of its own.
 *
 *     npx tsx scripts/check-code.ts             types, examples and lint
 *     npx tsx scripts/check-code.ts examples    the examples alone
 */
import { ESLint } from "eslint"
import { join } from "node:path"
import ts from "typescript"
import { examples, problemsOf, withExamples } from "./examples.js"

const root = join(import.meta.dirname, "..")
const onlyExamples = process.argv[2] === "examples"

const project = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(root, "tsconfig.json"), (path) => ts.sys.readFile(path)).config,
  ts.sys,
  root
)
const program = ts.createProgram({
  rootNames: [...(onlyExamples ? [] : project.fileNames), ...examples.map(({ path }) => path)],
  options: project.options,
  configFileParsingDiagnostics: project.errors,
  // The linter goes from a node to its parent.
  host: withExamples(ts.createCompilerHost(project.options, true))
})

const checkTypes = (): boolean => {
  const files = project.fileNames.flatMap((path) => program.getSourceFile(path) ?? [])
  const diagnostics = [
    ...program.getConfigFileParsingDiagnostics(),
    ...program.getOptionsDiagnostics(),
    ...program.getGlobalDiagnostics(),
    ...files.flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)])
  ]
  console.error(
    ts.formatDiagnostics(diagnostics, {
      getCurrentDirectory: () => root,
      getCanonicalFileName: (path) => path,
      getNewLine: () => "\n"
    })
  )
  console.log(`types of ${files.length} files, ${diagnostics.length} errors`)
  return files.length === project.fileNames.length && diagnostics.length === 0
}

const checkExamples = (): boolean => {
  const problems = examples.flatMap((example) => problemsOf(program, example))
  for (const problem of problems) {
    console.error(problem)
  }
  console.log(`${examples.length} examples, ${problems.length} errors`)
  return examples.length > 0 && problems.length === 0
}

const checkLint = async (): Promise<boolean> => {
  const eslint = new ESLint({
    cwd: root,
    overrideConfig: {
      files: ["**/*.ts", "**/*.tsx"],
      languageOptions: { parserOptions: { project: null, programs: [program] } }
    }
  })
  const results = await eslint.lintFiles(["."])
  const complaints = results.reduce((sum, { errorCount, warningCount }) => sum + errorCount + warningCount, 0)
  console.error((await eslint.loadFormatter("stylish")).format(results))
  console.log(`lint of ${results.length} files, ${complaints} complaints`)
  return results.length > 0 && complaints === 0
}

const checks = onlyExamples ? [checkExamples] : [checkTypes, checkExamples, checkLint]
for (const check of checks) {
  if (!(await check())) {
    process.exitCode = 1
  }
}
