// @ts-check
import eslint from "@eslint/js"
import { defineConfig } from "eslint/config"
import tseslint from "typescript-eslint"
import { documentedExports } from "./scripts/eslint/documentedExports.js"

/** Loading one of these loads all of it: half a second, for a process that may need a tenth of the modules. */
const barrels = [
  "effect",
  "@effect/cli",
  "@effect/experimental",
  "@effect/platform",
  "@effect/platform-node",
  "@effect/sql",
  "@effect/sql-pg"
].map((name) => ({ name, message: `Import the module itself: import * as Effect from "effect/Effect".` }))

export default defineConfig(
  { ignores: ["dist/", "coverage/", ".threadline/", "**/*.d.ts", "test/clients/prisma/client/", "examples/next/"] },
  eslint.configs.recommended,
  {
    files: ["**/*.ts", "**/*.tsx"],
    extends: [tseslint.configs.recommendedTypeChecked],
    // One program, made once: the service of editors takes a fifth longer.
    languageOptions: { parserOptions: { project: ["tsconfig.json"], tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-non-null-assertion": "error",
      "@typescript-eslint/no-empty-object-type": ["error", { allowInterfaces: "with-single-extends" }],
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/array-type": ["error", { default: "generic" }],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-import-type-side-effects": "error",
      // `declare namespace` groups the types of a module, as Effect's own modules do.
      "@typescript-eslint/no-namespace": ["error", { allowDeclarations: true }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      // An effect that is built and never run is the same mistake as a promise that nobody awaits.
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-unused-expressions": "error",
      "no-restricted-imports": [
        "error",
        { patterns: [{ group: ["@effect/schema", "@effect/schema/*"], message: "effect/Schema." }] }
      ],
      eqeqeq: "error",
      "no-console": "error"
    }
  },
  {
    files: ["src/**/*.{ts,tsx}", "cli/**/*.ts"],
    rules: {
      "@typescript-eslint/consistent-type-assertions": ["error", { assertionStyle: "never" }],
      "no-restricted-imports": [
        "error",
        {
          paths: barrels,
          patterns: [
            { group: ["./index.js", "../index.js", "../src/index.js"], message: "Import the module itself." },
            { group: ["@effect/schema", "@effect/schema/*"], message: "It is effect/Schema now." }
          ]
        }
      ]
    }
  },
  {
    // The one place where text from the database and from other libraries gets its type.
    files: ["src/internal/**/*.{ts,tsx}"],
    rules: { "@typescript-eslint/consistent-type-assertions": "off" }
  },
  {
    files: ["src/**/*.ts"],
    ignores: ["src/internal/**"],
    plugins: { threadline: { rules: { "documented-exports": documentedExports } } },
    rules: { "threadline/documented-exports": "error" }
  },
  {
    // Rows of raw queries are untyped; what a test asserts about them is its check.
    files: ["test/**/*.ts"],
    rules: {
      "@typescript-eslint/no-unsafe-assignment": "off",
      "@typescript-eslint/no-unsafe-member-access": "off",
      "@typescript-eslint/no-unsafe-argument": "off",
      "@typescript-eslint/no-unsafe-return": "off"
    }
  },
  {
    // Programs for a terminal.
    files: ["bench/**", "examples/**", "scripts/**"],
    rules: { "no-console": "off" }
  },
  {
    files: ["**/*.js", "**/*.mjs"],
    languageOptions: { globals: { process: "readonly", console: "readonly", URL: "readonly" } }
  }
)
