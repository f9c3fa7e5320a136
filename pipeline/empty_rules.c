/* Rules for empty masks; see study.h. What each library gives was read in its source (MedPy 0.5.2, MONAI 1.6, Metrics Reloaded,
 * surface-distance 0.1, SAMed). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/study.h"

static void set_rule(pipe_empty_rules *rules, int convention, int metric, pipe_presence state, double value)
{
    rules->rule[convention][metric][state - 1] = (pipe_empty_rule){.value = value};
}

static void set_all(pipe_empty_rules *rules, int convention, int metric, double both, double missed, double false_positive)
{
    set_rule(rules, convention, metric, PIPE_BOTH_EMPTY, both);
    set_rule(rules, convention, metric, PIPE_MISSED, missed);
    set_rule(rules, convention, metric, PIPE_FALSE_POSITIVE, false_positive);
}

/* SAMed utils.py: (1, 0) for a prediction where the reference is empty, (0, 0) for every empty prediction. */
static void set_samed(pipe_empty_rules *rules)
{
    for (int metric = 0; metric < PIPE_N_RULED; metric++)
        set_all(rules, PIPE_SAMED, metric, 0, 0, pipe_metric_is_distance((pipe_metric)metric) ? 0 : 1);
}

void pipe_empty_rules_default(pipe_empty_rules *rules)
{
    for (int convention = 0; convention < PIPE_N_CONVENTIONS; convention++)
        for (int metric = 0; metric < PIPE_N_RULED; metric++)
            set_all(rules, convention, metric, pipe_metric_is_distance((pipe_metric)metric) ? 0 : 1,
                    pipe_metric_is_distance((pipe_metric)metric) ? NAN : 0, pipe_metric_is_distance((pipe_metric)metric) ? NAN : 0);
    set_samed(rules);
}

/* Distances of MedPy raise an exception, those of MONAI and DeepMind are infinite (HD95 of MONAI: NaN). */
static void set_libraries(pipe_empty_rules *rules)
{
    for (int metric = PIPE_HD; metric <= PIPE_MASD; metric++) {
        set_all(rules, PIPE_MEDPY, metric, NAN, NAN, NAN);
        set_all(rules, PIPE_MONAI, metric, NAN, INFINITY, INFINITY);
        set_all(rules, PIPE_RELOADED, metric, 0, NAN, NAN);
        const double deepmind = metric <= PIPE_HD95 ? INFINITY : NAN; /* its averages are (inf, NaN): the mean of both is NaN */
        set_all(rules, PIPE_DEEPMIND, metric, deepmind, deepmind, deepmind);
    }
    set_all(rules, PIPE_MONAI, PIPE_HD95, NAN, NAN, NAN);
    for (int metric = PIPE_DSC; metric <= PIPE_RECALL; metric++) {
        set_all(rules, PIPE_MONAI, metric, NAN, 0, NAN);
        set_all(rules, PIPE_DEEPMIND, metric, NAN, 0, 0);
    }
    set_all(rules, PIPE_MEDPY, PIPE_PRECISION, 0, 0, 0);
    set_all(rules, PIPE_MEDPY, PIPE_RECALL, 0, 0, 0);
    set_all(rules, PIPE_MONAI, PIPE_NSD, NAN, 0, 0);
    set_all(rules, PIPE_RELOADED, PIPE_NSD, 1, NAN, NAN);
    set_all(rules, PIPE_DEEPMIND, PIPE_NSD, NAN, 0, 0);
}

static void set_worst(pipe_empty_rules *rules)
{
    for (int convention = 0; convention < PIPE_N_CONVENTIONS; convention++)
        for (int metric = 0; metric < PIPE_N_RULED; metric++)
            for (int state = PIPE_MISSED; state <= PIPE_FALSE_POSITIVE; state++)
                rules->rule[convention][metric][state - 1] = (pipe_empty_rule){.is_worst = true};
}

/* Bits of the metrics that a word means; 0 for an unknown word. */
static unsigned read_metrics(const char *word)
{
    unsigned bits = 0;

    for (int metric = 0; metric < PIPE_N_RULED; metric++) {
        const bool is_meant = !strcmp(word, "all") || (!strcmp(word, "distance") && pipe_metric_is_distance((pipe_metric)metric)) ||
                              (!strcmp(word, "overlap") && metric <= PIPE_RECALL) || !strcmp(word, pipe_metric_name((pipe_metric)metric));
        if (is_meant) bits |= 1u << metric;
    }
    return bits;
}

static unsigned read_states(const char *word)
{
    if (!strcmp(word, "both")) return 1u << PIPE_BOTH_EMPTY;
    if (!strcmp(word, "missed")) return 1u << PIPE_MISSED;
    if (!strcmp(word, "false")) return 1u << PIPE_FALSE_POSITIVE;
    if (!strcmp(word, "any")) return 1u << PIPE_BOTH_EMPTY | 1u << PIPE_MISSED | 1u << PIPE_FALSE_POSITIVE;
    return 0;
}

static bool read_rule(const char *word, pipe_empty_rule *rule)
{
    char *end;

    *rule = (pipe_empty_rule){.is_worst = !strcmp(word, "worst")};
    if (rule->is_worst) return true;
    rule->value = strtod(word, &end);
    return end != word && !*end;
}

static void apply_rule(pipe_empty_rules *rules, unsigned conventions, unsigned metrics, unsigned states, const pipe_empty_rule *rule)
{
    for (int convention = 0; convention < PIPE_N_CONVENTIONS; convention++)
        for (int metric = 0; metric < PIPE_N_RULED; metric++)
            for (int state = PIPE_BOTH_EMPTY; state <= PIPE_FALSE_POSITIVE; state++)
                if (conventions >> convention & metrics >> metric & states >> state & 1) rules->rule[convention][metric][state - 1] = *rule;
}

/* One "[CONVENTION/]METRIC:STATE=VALUE", which is taken apart in place. */
static io_status apply_setting(pipe_empty_rules *rules, char *setting)
{
    char whole[128];
    char *slash = strchr(setting, '/'), *metric = slash ? slash + 1 : setting;
    char *colon = strchr(metric, ':'), *equals = colon ? strchr(colon, '=') : NULL;
    unsigned conventions = (1u << PIPE_N_CONVENTIONS) - 1;
    pipe_empty_rule rule = {0};

    snprintf(whole, sizeof whole, "%s", setting);
    if (slash) {
        pipe_convention convention;
        *slash = '\0';
        IO_TRY(pipe_convention_parse(setting, &convention));
        conventions = 1u << convention;
    }
    if (colon) *colon = '\0';
    if (equals) *equals = '\0';
    if (!equals || !read_metrics(metric) || !read_states(colon + 1) || !read_rule(equals + 1, &rule))
        return IO_FAIL(
            IO_ERR_ARGUMENT,
            "'%s' is no rule for empty masks; expected library, worst or [CONVENTION/]METRIC:STATE=VALUE, METRIC of dsc, jaccard, "
            "precision, recall, hd, hd95, assd, masd, nsd, overlap, distance, all, STATE of both, missed, false, any, VALUE a "
            "number, nan, inf or worst",
            whole);
    apply_rule(rules, conventions, read_metrics(metric), read_states(colon + 1), &rule);
    return IO_OK;
}

io_status pipe_empty_rules_change(pipe_empty_rules *rules, const char *text)
{
    char copy[1024], *rest = copy;

    if (strlen(text) >= sizeof copy)
        return IO_FAIL(IO_ERR_ARGUMENT, "rules for empty masks of %zu bytes; at most %zu", strlen(text), sizeof copy - 1);
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word = strtok_r(copy, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        if (!strcmp(word, "library")) {
            set_libraries(rules);
            set_samed(rules);
        } else if (!strcmp(word, "worst")) {
            set_worst(rules);
        } else {
            IO_TRY(apply_setting(rules, word));
        }
    }
    return IO_OK;
}
