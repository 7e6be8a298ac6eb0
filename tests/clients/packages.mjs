// Import the packages whose names the test sends, and say what they export.
import { serve } from './lines.mjs';

serve({ names: async ({ package: name }) => Object.keys(await import(name)) });
