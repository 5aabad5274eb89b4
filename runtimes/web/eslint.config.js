import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import globals from "globals";
import tseslint from "typescript-eslint";

export default defineConfig(
  { ignores: ["**/build", "**/dist", "**/node_modules", "src/manifest.schema.ts"] },
  js.configs.recommended,
  {
    files: ["**/*.ts", "**/*.tsx", "eslint.config.js"],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: { allowDefaultProject: ["eslint.config.js"] } } },
    rules: {
      // A number in a text is what it is in JavaScript: its digits.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // node:test waits for its tests itself.
      "@typescript-eslint/no-floating-promises": [
        "error",
        {
          allowForKnownSafeCalls: [
            { from: "package", package: "node:test", name: ["test", "describe", "before", "after"] },
          ],
        },
      ],
    },
  },
  {
    files: ["page/**/*.ts", "page/**/*.tsx"],
    rules: {
      // `onClick={() => (drawer.value = false)}` is how components say it.
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      // An empty text is none.
      "@typescript-eslint/prefer-nullish-coalescing": ["error", { ignorePrimitives: { string: true } }],
      "@typescript-eslint/no-unused-vars": ["error", { ignoreRestSiblings: true }],
    },
  },
  // What builds and tests the page runs in Node, and hands functions to a browser.
  { files: ["**/*.mjs"], languageOptions: { globals: { ...globals.node, ...globals.browser } } },
  { files: ["page/static/*.js"], languageOptions: { sourceType: "script", globals: globals.browser } },
);
