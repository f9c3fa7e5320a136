/* See phantom_anatomy.h. Coordinates below are those of a standard adult, mm: x to the right, y to the front, z to the head. */
#include "pipeline/phantom_anatomy.h"

#include <math.h>
#include <string.h>

enum { SPLEEN = 1, RIGHT_KIDNEY, LEFT_KIDNEY, GALLBLADDER, LIVER, STOMACH, AORTA, PANCREAS }; /* spec 7 */
enum { FAT_HU = -98, MUSCLE_HU = 58, BOWEL_HU = 45, STOOL_HU = 15, GAS_HU = -960 };

static const double STRAIGHT[3] = {0, 0, 0};

static organ *add_organ(anatomy *a)
{
    organ *o = &a->organs[a->n_organs++];

    memset(o, 0, sizeof *o);
    o->wave = 60;
    o->only_on = SHAPE_ANYWHERE;
    return o;
}

static void bend(organ *o, dice *d, double warp, double wave)
{
    o->warp = warp;
    o->wave = wave;
    for (int i = 0; i < 3; i++) o->phase[i] = pipe_dice_between(d, 0, 1);
}

static void add_layer(organ *o, double depth, double hu, int label)
{
    o->layers[o->n_layers++] = (layer){.depth = depth, .hu = hu, .label = label};
}

/* Turns by the angles whose tangents are given: about z, then about x, then about y. */
static void set_turn(solid *s, const double tangents[3])
{
    double cosine[3], sine[3];

    for (int i = 0; i < 3; i++) {
        cosine[i] = 1 / sqrt(1 + tangents[i] * tangents[i]);
        sine[i] = tangents[i] * cosine[i];
    }
    const double turn[3][3] = {
        {cosine[0] * cosine[2] + sine[0] * sine[1] * sine[2], sine[0] * cosine[2] - cosine[0] * sine[1] * sine[2], cosine[1] * sine[2]},
        {-sine[0] * cosine[1], cosine[0] * cosine[1], sine[1]},
        {sine[0] * sine[1] * cosine[2] - cosine[0] * sine[2], -sine[0] * sine[2] - cosine[0] * sine[1] * cosine[2], cosine[1] * cosine[2]},
    };
    memcpy(s->turn, turn, sizeof turn);
}

static void add_blob(const anatomy *a, organ *o, solid_role role, const double center[3], const double radii[3], const double tangents[3])
{
    const double factor[3] = {a->frame, a->frame, a->stature};
    solid *s = &o->parts[o->n_parts++];

    s->kind = SOLID_BLOB;
    s->role = role;
    for (int i = 0; i < 3; i++) {
        s->center[i] = center[i] * factor[i];
        s->radii[i] = radii[i] * factor[i];
    }
    set_turn(s, tangents);
}

/* points [n][4]: x, y, z, radius; all moved by shift and the radii multiplied by thickness. */
static void add_tube(const anatomy *a, organ *o, int n, const double (*points)[4], const double shift[3], double thickness)
{
    const double factor[3] = {a->frame, a->frame, a->stature};
    solid *s = &o->parts[o->n_parts++];

    s->kind = SOLID_TUBE;
    s->n_points = n;
    for (int p = 0; p < n; p++) {
        for (int i = 0; i < 3; i++) s->points[p][i] = (points[p][i] + shift[i]) * factor[i];
        s->radius[p] = points[p][3] * thickness;
    }
}

static void jitter(dice *d, double reach, double shift[3])
{
    for (int i = 0; i < 3; i++) shift[i] = pipe_dice_between(d, -reach, reach);
}

static void add_muscles(anatomy *a, dice *d)
{
    const double bulk = pipe_dice_between(d, 0.85, 1.15);

    for (int side = -1; side <= 1; side += 2) {
        const double psoas[4][4] = {
            {side * 22, -58, 5, 5}, {side * 33, -58, -50, 15}, {side * 45, -45, -110, 19}, {side * 62, -10, -190, 17}};
        organ *o = add_organ(a);
        add_blob(a, o, SOLID_JOIN, (double[3]){side * 35, -101, -40}, (double[3]){30 * bulk, 17 * bulk, 400}, STRAIGHT);
        add_layer(o, 0, MUSCLE_HU, 0);
        o = add_organ(a);
        o->blend = 12;
        add_tube(a, o, 4, psoas, STRAIGHT, bulk);
        add_layer(o, -1.5, FAT_HU, 0);
        add_layer(o, 0, MUSCLE_HU, 0);
        o = add_organ(a);
        add_blob(a, o, SOLID_JOIN, (double[3]){side * 66, -80, -60}, (double[3]){17, 9, 70}, (double[3]){side * -0.3, 0, 0});
        add_layer(o, 0, MUSCLE_HU - 4, 0);
    }
}

/* Wings of the pelvis, heads of the femora, bladder: what a long scan sees below the abdomen. */
static void add_pelvis(anatomy *a)
{
    organ *o;

    for (int side = -1; side <= 1; side += 2) {
        o = add_organ(a); /* gluteal muscles behind, iliac ones before the bone */
        add_blob(a, o, SOLID_JOIN, (double[3]){side * 94, -46, -175}, (double[3]){27, 52, 62}, (double[3]){side * 0.7, 0, side * -0.2});
        add_layer(o, 0, MUSCLE_HU, 0);
        o = add_organ(a);
        add_blob(a, o, SOLID_JOIN, (double[3]){side * 86, -40, -168}, (double[3]){11, 56, 66}, (double[3]){side * 0.7, 0, side * -0.35});
        add_layer(o, 0, 420, 0);
        add_layer(o, 3.5, 190, 0);
        o = add_organ(a);
        add_blob(a, o, SOLID_JOIN, (double[3]){side * 92, -5, -228}, (double[3]){25, 25, 25}, STRAIGHT);
        add_layer(o, 0, 520, 0);
        add_layer(o, 3, 300, 0);
    }
    o = add_organ(a);
    add_blob(a, o, SOLID_JOIN, (double[3]){0, 30, -205}, (double[3]){44, 34, 34}, STRAIGHT);
    add_layer(o, 0, 40, 0);
    add_layer(o, 4, 6, 0);
}

/* Vessels of the lungs, from the hilum downwards and outwards. */
static void add_lung_vessels(anatomy *a, dice *d)
{
    for (int i = 0; i < 18; i++) {
        const double side = i % 2 ? 1 : -1, x = side * pipe_dice_between(d, 65, 118), y = pipe_dice_between(d, -62, 55);
        const double z = pipe_dice_between(d, 70, 190), hilum[3] = {side * 38, -18, 190};
        const double points[3][4] = {
            {hilum[0], hilum[1], hilum[2], 5},
            {0.5 * (hilum[0] + x), 0.5 * (hilum[1] + y), 0.4 * hilum[2] + 0.6 * z, 3},
            {x, y, z, 1},
        };
        organ *o = add_organ(a);
        bend(o, d, 5, 50);
        o->blend = 3;
        add_tube(a, o, 3, points, STRAIGHT, 1);
        add_layer(o, 0, 40, SHAPE_KEEP);
    }
}

static void add_chest(anatomy *a)
{
    organ *o = add_organ(a); /* mediastinum */

    add_blob(a, o, SOLID_JOIN, (double[3]){-5, -15, 190}, (double[3]){34, 62, 112}, STRAIGHT);
    add_layer(o, 0, -20, 0);
    o = add_organ(a); /* heart: muscle and blood */
    add_blob(a, o, SOLID_JOIN, (double[3]){-24, 28, 134}, (double[3]){58, 48, 52}, (double[3]){-0.5, 0, 0.2});
    add_layer(o, -2, FAT_HU + 30, 0);
    add_layer(o, 0, 95, 0);
    add_layer(o, 10, 150, 0);
    o = add_organ(a); /* oesophagus down to the stomach */
    o->blend = 8;
    add_tube(a, o, 4, (const double[4][4]){{-4, -35, 230, 8}, {-6, -34, 130, 9}, {-14, -22, 85, 9}, {-32, -10, 68, 9}}, STRAIGHT, 1);
    add_layer(o, 0, BOWEL_HU, 0);
}

/* The large bowel as a frame: wall, mottled stool, gas in front. */
static void add_colon(anatomy *a, dice *d)
{
    static const double right[4][4] = {{98, 0, -150, 24}, {108, -8, -95, 23}, {106, -5, -62, 21}, {88, 42, -62, 20}};
    static const double across[5][4] = {{88, 42, -62, 19}, {48, 68, -88, 18}, {-5, 74, -98, 17}, {-58, 66, -78, 17}, {-103, 12, -28, 17}};
    static const double left[4][4] = {{-103, 12, -28, 16}, {-115, -18, -72, 15}, {-112, -14, -130, 15}, {-70, 0, -185, 16}};
    static const struct {
        int n;
        const double (*points)[4];
    } runs[] = {{4, right}, {5, across}, {4, left}};

    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        double shift[3];
        organ *o = add_organ(a);
        jitter(d, 4, shift);
        bend(o, d, 4, 38); /* haustra */
        o->blend = 10;
        o->is_in_cavity = true;
        add_tube(a, o, runs[i].n, runs[i].points, shift, pipe_dice_between(d, 0.85, 1.15));
        add_layer(o, 0, BOWEL_HU + 20, 0);
        add_layer(o, 3, STOOL_HU + pipe_dice_between(d, -40, 30), 0);
        o->level = runs[i].points[1][1] * a->frame + pipe_dice_between(d, 0, 14);
        add_layer(o, 4, GAS_HU, 0);
        o->layers[o->n_layers - 1].is_gas = true;
    }
}

/* Loops of small bowel in the lower abdomen. */
static void add_bowel(anatomy *a, dice *d)
{
    for (int i = 0; i < 22; i++) {
        const double x = (i % 4 - 1.5) * 40 + pipe_dice_between(d, -14, 14), z = -78 - (i / 4) * 24 + pipe_dice_between(d, -10, 10);
        const double y = 32 + pipe_dice_between(d, -30, 26), along = pipe_dice_between(d, -1, 1);
        const double points[3][4] = {{x - 24, y - 10 * along, z, 12}, {x, y + 12 * along, z - 9 * along, 14}, {x + 22, y - 8, z + 8, 12}};
        organ *o = add_organ(a);
        bend(o, d, 4, 30);
        o->blend = 8;
        o->is_in_cavity = true;
        add_tube(a, o, 3, points, STRAIGHT, pipe_dice_between(d, 0.85, 1.2));
        add_layer(o, -1.5, FAT_HU, 0);
        add_layer(o, 0, BOWEL_HU + 45, 0);
        add_layer(o, 3, BOWEL_HU - 15 + pipe_dice_between(d, -15, 15), 0);
        if (i % 7 == 3) {
            o->level = y + 4;
            add_layer(o, 4, GAS_HU, 0);
            o->layers[o->n_layers - 1].is_gas = true;
        }
    }
}

/* Two lobes under the diaphragm, hollowed from below and behind. */
static void add_liver(anatomy *a, dice *d)
{
    const double g = pipe_dice_between(d, 0.93, 1.05), hu = pipe_dice_between(d, 92, 118), tip = pipe_dice_between(d, -8, 8);
    organ *o = add_organ(a);

    bend(o, d, 5, 95);
    o->blend = 22;
    o->is_in_cavity = true;
    add_blob(a, o, SOLID_JOIN, (double[3]){80, -4, 24 + tip}, (double[3]){74 * g, 86 * g, 88 * g}, (double[3]){0, 0, 0.22});
    add_blob(a, o, SOLID_JOIN, (double[3]){2, 48, 58}, (double[3]){82 * g, 36 * g, 36 * g}, (double[3]){-0.12, 0, -0.16});
    add_blob(a, o, SOLID_CARVE, (double[3]){14, -2, -34}, (double[3]){62, 66, 78}, (double[3]){0, 0, -0.35});
    add_blob(a, o, SOLID_CARVE, (double[3]){-28, -44, 40}, (double[3]){52, 62, 90}, STRAIGHT);
    add_layer(o, -1.5, FAT_HU, 0);
    add_layer(o, 0, hu, LIVER);
}

/* Hepatic and portal veins, seen only inside the liver. */
static void add_liver_veins(anatomy *a, dice *d)
{
    static const double veins[6][3][4] = {
        {{24, -32, 84, 5.5}, {52, -8, 66, 4.5}, {100, 6, 34, 2.5}}, {{22, -30, 84, 5}, {36, 12, 68, 4}, {52, 46, 44, 2.2}},
        {{20, -28, 84, 5}, {4, 22, 72, 3.5}, {-30, 48, 60, 2}},     {{32, 6, 14, 6.5}, {62, 4, 30, 5.5}, {112, -14, 18, 2.5}},
        {{62, 4, 30, 5}, {84, 32, 26, 3.5}, {106, 42, 4, 2}},       {{40, 6, 22, 5.5}, {20, 38, 50, 4}, {-22, 56, 50, 2}},
    };

    for (int i = 0; i < 6; i++) {
        double shift[3];
        organ *o = add_organ(a);
        jitter(d, 5, shift);
        bend(o, d, 4, 45);
        o->blend = 4;
        o->only_on = LIVER;
        add_tube(a, o, 3, veins[i], shift, 1);
        add_layer(o, 0, 165, SHAPE_KEEP);
    }
}

static void add_stomach(anatomy *a, dice *d)
{
    static const double points[5][4] = {{-66, -6, 66, 34}, {-70, 26, 36, 32}, {-58, 48, 4, 26}, {-26, 62, -16, 20}, {8, 52, -12, 13}};
    const double fill = pipe_dice_between(d, 0.84, 1.08);
    double shift[3];
    organ *o = add_organ(a);

    jitter(d, 4, shift);
    bend(o, d, 4, 60);
    o->blend = 16;
    o->is_in_cavity = true;
    add_tube(a, o, 5, points, shift, fill * a->frame);
    add_layer(o, -1.5, FAT_HU, 0);
    add_layer(o, 0, 72, STOMACH);
    add_layer(o, 4, pipe_dice_between(d, 15, 45), STOMACH);
    o->level = (50 + pipe_dice_between(d, -8, 6)) * a->frame; /* the patient lies on the back: gas comes to the front */
    add_layer(o, 4.5, GAS_HU, STOMACH);
    o->layers[o->n_layers - 1].is_gas = true;
}

static void add_spleen(anatomy *a, dice *d)
{
    const double g = pipe_dice_between(d, 0.86, 1.12);
    double shift[3];
    organ *o = add_organ(a);

    jitter(d, 4, shift);
    bend(o, d, 3, 70);
    o->blend = 8;
    o->is_in_cavity = true;
    add_blob(a, o, SOLID_JOIN, (double[3]){-94 + shift[0], -30 + shift[1], 38 + shift[2]}, (double[3]){32 * g, 52 * g, 52 * g},
             (double[3]){0.35, 0, 0.1});
    add_blob(a, o, SOLID_CARVE, (double[3]){-56 + shift[0], -14 + shift[1], 30 + shift[2]}, (double[3]){34, 48, 58},
             (double[3]){0.35, 0, 0});
    add_layer(o, -1.5, FAT_HU, 0);
    add_layer(o, 0, pipe_dice_between(d, 110, 132), SPLEEN);
}

static void add_pancreas(anatomy *a, dice *d)
{
    static const double points[6][4] = {{32, 8, -34, 11},  {28, 16, -16, 15}, {8, 26, -4, 9.5},
                                        {-18, 24, 6, 9.5}, {-46, 6, 16, 10},  {-70, -14, 24, 8}};
    double shift[3];
    organ *o = add_organ(a);

    jitter(d, 4, shift);
    bend(o, d, 3, 26); /* lobules */
    o->blend = 8;
    add_tube(a, o, 6, points, shift, pipe_dice_between(d, 0.9, 1.2) * a->frame);
    add_layer(o, -2, FAT_HU, 0);
    add_layer(o, 0, pipe_dice_between(d, 85, 108), PANCREAS);
}

static void add_duodenum(anatomy *a, dice *d)
{
    static const double points[6][4] = {{10, 50, -10, 12}, {36, 40, -12, 12},  {54, 16, -28, 13},
                                        {50, -2, -58, 13}, {10, -14, -70, 12}, {-26, 0, -58, 12}};
    organ *o = add_organ(a);

    bend(o, d, 3, 30);
    o->blend = 8;
    add_tube(a, o, 6, points, STRAIGHT, pipe_dice_between(d, 0.8, 1.05));
    add_layer(o, -1.5, FAT_HU, 0);
    add_layer(o, 0, BOWEL_HU + 40, 0);
    add_layer(o, 3, BOWEL_HU - 15, 0);
}

/* side is +1 for the right kidney, which lies lower; the hilum looks to the front and the midline. */
static void add_kidney(anatomy *a, dice *d, int side)
{
    const double g = pipe_dice_between(d, 0.92, 1.1), hu = pipe_dice_between(d, 170, 205), z = side > 0 ? -24 : -8;
    double shift[3];
    organ *o = add_organ(a);

    jitter(d, 5, shift);
    bend(o, d, 2, 50);
    o->blend = 6;
    add_blob(a, o, SOLID_JOIN, (double[3]){side * (62 + shift[0]), -46 + shift[1], z + shift[2]}, (double[3]){31 * g, 24 * g, 54 * g},
             (double[3]){side * -0.75, 0, side * 0.22});
    add_blob(a, o, SOLID_CARVE, (double[3]){side * (43 + shift[0]), -32 + shift[1], z + shift[2]}, (double[3]){20, 7, 20},
             (double[3]){side * -0.75, 0, side * 0.22});
    add_layer(o, -6, FAT_HU, 0);
    add_layer(o, 0, hu, side > 0 ? RIGHT_KIDNEY : LEFT_KIDNEY);
    add_layer(o, 9, hu - 30, SHAPE_KEEP);
}

static void add_vessels(anatomy *a, dice *d)
{
    static const double aorta[5][4] = {
        {-22, -44, 240, 12.5}, {-18, -44, 110, 12}, {-8, -34, 50, 11.5}, {-7, -34, -20, 10}, {-5, -36, -86, 8.5}};
    static const double cava[4][4] = {{22, -32, -100, 11}, {22, -32, -20, 12}, {24, -24, 60, 13}, {20, -14, 105, 14}};
    static const double mesenteric[3][4] = {{6, 4, -85, 4.5}, {6, 6, -45, 5}, {12, 14, -8, 6}};
    static const double portal[3][4] = {{12, 14, -8, 7}, {24, 10, 6, 7}, {36, 6, 18, 6.5}};
    static const double splenic[3][4] = {{12, 10, -6, 4.5}, {-30, 6, 8, 4}, {-72, -16, 26, 3.5}};
    const double hu = pipe_dice_between(d, 145, 180), width = pipe_dice_between(d, 0.85, 1.2), sway = pipe_dice_between(d, -4, 4);
    const struct {
        int n;
        const double (*points)[4];
    } veins[] = {{4, cava}, {3, mesenteric}, {3, portal}, {3, splenic}};
    organ *o;

    for (size_t i = 0; i < sizeof veins / sizeof *veins; i++) {
        o = add_organ(a);
        o->blend = 6;
        add_tube(a, o, veins[i].n, veins[i].points, STRAIGHT, 1);
        if (i == 0) add_layer(o, -1.5, FAT_HU, 0);
        add_layer(o, 0, hu - 10, 0);
    }
    for (int side = -1; side <= 1; side += 2) { /* common iliac arteries */
        const double iliac[3][4] = {{-5, -36, -84, 7}, {side * 22 - 2, -40, -125, 6.5}, {side * 48, -30, -180, 6}};
        o = add_organ(a);
        add_tube(a, o, 3, iliac, STRAIGHT, width);
        add_layer(o, 0, hu, 0);
    }
    o = add_organ(a);
    o->blend = 10;
    add_tube(a, o, 5, aorta, (double[3]){sway, 0, 0}, width);
    add_layer(o, -2, FAT_HU, 0);
    add_layer(o, 0, hu, AORTA);
}

static void add_gallbladder(anatomy *a, dice *d)
{
    static const double points[3][4] = {{44, 40, -4, 7}, {56, 56, -20, 14}, {62, 66, -38, 15}};
    double shift[3];
    organ *o = add_organ(a);

    jitter(d, 3, shift);
    bend(o, d, 2, 50);
    o->blend = 8;
    o->is_in_cavity = true;
    add_tube(a, o, 3, points, shift, pipe_dice_between(d, 0.85, 1.2));
    add_layer(o, -1, 40, 0);
    add_layer(o, 0, pipe_dice_between(d, 4, 16), GALLBLADDER);
}

static void set_body(anatomy *a, dice *d)
{
    const double build = pipe_dice_between(d, 0, 1); /* slim to stout */

    a->frame = pipe_dice_between(d, 0.94, 1.06);
    a->stature = pipe_dice_between(d, 0.95, 1.05);
    a->cavity = (oval){138 * a->frame, (86 + 14 * build) * a->frame, 92 * a->frame, 0.35};
    a->muscle = pipe_dice_between(d, 10, 14);
    a->fat_side = 8 + 20 * build;
    a->fat_front = 7 + 16 * build;
    a->fat_back = 8 + 12 * build;
    a->domes[0] = (dome){68 * a->frame, 4 * a->frame, pipe_dice_between(d, 94, 108) * a->stature, 62, 72 * a->frame, 88 * a->frame};
    a->domes[1] = (dome){-66 * a->frame, 2 * a->frame, pipe_dice_between(d, 84, 98) * a->stature, 58, 72 * a->frame, 88 * a->frame};
    a->domes[2] = (dome){-4 * a->frame, 34 * a->frame, 84 * a->stature, 60, 88 * a->frame, 84 * a->frame};
    a->rib_height = pipe_dice_between(d, -2, 14);
    a->disc_height = pipe_dice_between(d, -17, 17);
}

void pipe_anatomy_create(dice *d, anatomy *out)
{
    out->n_organs = 0;
    set_body(out, d);
    add_muscles(out, d);
    out->n_behind = out->n_organs;
    add_pelvis(out);
    add_lung_vessels(out, d);
    add_chest(out);
    add_bowel(out, d);
    add_colon(out, d);
    add_liver(out, d);
    add_liver_veins(out, d);
    add_stomach(out, d);
    add_spleen(out, d);
    add_duodenum(out, d);
    add_pancreas(out, d);
    add_kidney(out, d, 1);
    add_kidney(out, d, -1);
    add_vessels(out, d);
    add_gallbladder(out, d);
    for (int i = 0; i < out->n_organs; i++) pipe_shape_bound(&out->organs[i]);
}
